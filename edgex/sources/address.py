"""Addresses as they may be shown: without the passwords and tokens that cameras take in them."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ADDRESS = re.compile(_SCHEME.pattern + r"[^\s\"']*")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_AT_IN_QUERY = re.compile(r"[?#].*=.*@", re.DOTALL)  # part of a password, or of a query's value: nobody can tell
_VALUE = re.compile(r"([?#&][^=&]*=|[?#&])[^&]*?(?=[,;:.)]*(?:&|$))", re.DOTALL)
_WORDS = r"[\w.-]*(?:pass|pwd|pw|token|secret|key|auth|credential|signature)[\w.-]*"
_ASSIGNED = re.compile(rf"((?<![\w.-]){_WORDS}=)(?:\"[^\"]*\"|'[^']*'|[^&\s\"'!;]+)", re.IGNORECASE)


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in lower case ("rtsp"), or None for what is no address."""
    match = _SCHEME.match(text)
    return match[1].lower() if match else None


def masked(text: str) -> str:
    """Return `text` with `***` in place of what may be secret in its addresses, and of assigned passwords.

    People write passwords as they are, with `@`, `/` and `?`. So everything up to the last @ of an address goes, also
    where it was no password, and every value after a `?`: its path alone tells which camera it is. In a sentence an
    address ends at a space or a quotation mark; a text that begins with an address is taken for one as a whole.
    """
    whole = scheme_of(text) is not None
    shown = _masked_address(text) if whole else _ADDRESS.sub(lambda found: _masked_address(found[0]), text)
    return _ASSIGNED.sub(r"\1***", shown)


def masked_words(words: list[str]) -> str:
    """Return the words of a command line as one text, without what is secret in each; a secret may hold spaces."""
    return " ".join(map(_masked_word, words))


def _masked_word(word: str) -> str:
    name, equals, value = word.partition("=")
    if equals and _ASSIGNED.match(f"{name}=x"):
        return f"{name}=***"
    return f"{name}={masked(value)}" if equals and scheme_of(word) is None else masked(word)


def _masked_address(address: str) -> str:
    scheme, _, rest = address.partition("://")
    if _AT_IN_QUERY.search(rest):
        return f"{scheme}://***"
    _, at, place = rest.rpartition("@")
    query = _QUERY.search(place)
    if query is not None:
        place = place[: query.start()] + _VALUE.sub(_masked_value, query[0])
    return f"{scheme}://{'***@' * bool(at)}{place}"


def _masked_value(found: re.Match[str]) -> str:
    return f"{found[1]}***" if found[0] != found[1] or found[1].endswith("=") else found[1]
