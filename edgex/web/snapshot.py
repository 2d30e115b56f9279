"""Snapshots: a frame in full resolution as PNG, with what is known of it inside the file."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from edgex.errors import SinkError
from edgex.types import Image

KEYWORD = "edgex"
_HEADER_BYTES = 8 + 25  # the signature and the chunk IHDR, which has to be the first (PNG specification, 5.6)
_FAST = 3  # of zlib's levels 0 to 9: half the time of the highest for a few per cent of size


def png_with_record(image: Image, record: Mapping[str, Any]) -> bytes:
    """Return a PNG that carries a record as JSON in its iTXt chunk `edgex`.

    Parameters
    ----------
    image : uint8 [H, W, 3], BGR
    record : JSON types

    Raises
    ------
    SinkError
        If the picture cannot be encoded.
    """
    import cv2

    whole, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _FAST])
    if not whole:
        raise SinkError(f"expected a picture that fits a PNG, got shape {list(image.shape)}; use a smaller one")
    png = encoded.tobytes()
    return png[:_HEADER_BYTES] + _chunk(record) + png[_HEADER_BYTES:]


def _chunk(record: Mapping[str, Any]) -> bytes:
    """Return an iTXt chunk (PNG specification, 11.3.3.4): keyword, uncompressed, no language, no translation, text."""
    text = json.dumps(record, ensure_ascii=True, allow_nan=False)
    body = b"iTXt" + KEYWORD.encode("latin-1") + b"\0\0\0\0\0" + text.encode("ascii")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
