"""The text of a NACK, made fit to be shown: it is a peer's, and may quote configuration with keys in it."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 512

_SCANNED: Final = 16 * LONGEST
_REDACTED: Final = "[PEM redacted]"

# An encoded block has no end within reach when the peer cut it off: then everything after its begin goes.
_PEM: Final = re.compile(r"-----\s*BEGIN[^-]{0,64}-----.*?(?:-----\s*END[^-]{0,64}-----|\Z)", re.DOTALL)
# The tail of a block whose begin the peer cut off.
_PEM_TAIL: Final = re.compile(r"\A.*-----\s*END[^-]{0,64}-----", re.DOTALL)
# What remains of a block without its lines: long runs of base64, such as inline_bytes.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]+")


def readable(detail: str) -> str:
    """At most 512 characters on one line, without PEM blocks."""
    text = detail[:_SCANNED].replace("\\n", "\n")
    text = _PEM.sub(_REDACTED, text)
    text = _PEM_TAIL.sub(_REDACTED, text)
    text = _BASE64.sub("[base64 redacted]", text)
    text = " ".join(_CONTROL.sub(" ", text).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
