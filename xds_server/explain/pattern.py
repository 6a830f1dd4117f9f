"""RE2 as Envoy uses it: on bytes, one by one; whole matches, and replacement of all matches."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import re2

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.encoding = re2.Options.Encoding.LATIN1


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    return re2.compile(pattern.encode(), _OPTIONS)


def matches(pattern: str, text: str) -> bool:
    return compiled(pattern).fullmatch(text.encode()) is not None


def replaced(pattern: str, substitution: str, text: str) -> str:
    r"""RE2's GlobalReplace: `\0` to `\9` are groups, and no empty match follows directly on another match."""
    source, wanted = text.encode(), substitution.encode()
    parts: list[bytes] = []
    end = -1
    copied = 0
    for found in compiled(pattern).finditer(source):
        if found.start() == found.end() == end:
            continue
        parts += (source[copied : found.start()], _expanded(wanted, found))
        end = copied = found.end()
    return b"".join((*parts, source[copied:])).decode(errors="replace")


def _expanded(substitution: bytes, found: Any) -> bytes:
    def part(escape: re.Match[bytes]) -> bytes:
        return b"\\" if escape[1] == b"\\" else found.group(int(escape[1])) or b""

    return re.sub(rb"\\([0-9\\])", part, substitution)
