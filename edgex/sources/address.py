"""Addresses as they may be shown: without the passwords and tokens that cameras take in them."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_AUTHORITY = re.compile(r"(://)[^\s/?#\"']*@")
_SLASH_IN_PASSWORD = re.compile(r"(://)[^\s/?#@\"']*:(?!\d+[/?#])[^\s@\"']*@")  # no host's port: so a password
_WORDS = r"[\w.-]*(?:pass|pwd|pw|token|secret|key|auth|credential|signature)[\w.-]*"
_ASSIGNED = re.compile(rf"((?<![\w.-]){_WORDS}=)(?:\"[^\"]*\"|'[^']*'|[^&\s\"'!;]+)", re.IGNORECASE)


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in lower case ("rtsp"), or None for what is no address."""
    match = _SCHEME.match(text)
    return match[1].lower() if match else None


def masked(text: str) -> str:
    """Return `text` with `***` in place of what stands before the @ of an address, and of assigned passwords."""
    text = _AUTHORITY.sub(r"\1***@", text)
    return _ASSIGNED.sub(r"\1***", _SLASH_IN_PASSWORD.sub(r"\1***@", text))
