"""RE2 as Envoy uses it: whole matches, and replacement of all matches."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import re2

_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    return re2.compile(pattern, _OPTIONS)


def matches(pattern: str, text: str) -> bool:
    return compiled(pattern).fullmatch(text) is not None


def replaced(pattern: str, substitution: str, text: str) -> str:
    r"""RE2's GlobalReplace: `\0` to `\9` are groups, and no empty match follows directly on another match."""
    parts: list[str] = []
    end = -1
    copied = 0
    for found in compiled(pattern).finditer(text):
        if found.start() == found.end() == end:
            continue
        parts += (text[copied : found.start()], _expanded(substitution, found))
        end = copied = found.end()
    return "".join((*parts, text[copied:]))


def _expanded(substitution: str, found: Any) -> str:
    def part(escape: re.Match[str]) -> str:
        return "\\" if escape[1] == "\\" else found.group(int(escape[1])) or ""

    return re.sub(r"\\([0-9\\])", part, substitution)
