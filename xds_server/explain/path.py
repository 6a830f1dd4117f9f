"""Envoy's normalisation of paths: RFC 3986 as Chromium's canonicaliser reads it, and Envoy's own rules."""

from __future__ import annotations

import re
from typing import Final

_ESCAPED_SLASH: Final = re.compile(r"%(2[fF]|5[cC])")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
# A parameter of a dot segment is dropped with it; only segments that are written with plain dots and slashes count.
_DOT_PARAMETER: Final = re.compile(r"(?<=/)(\.\.?);[^/]*")
_UNRESERVED: Final = frozenset(b"-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ENCODED: Final = {character: f"%{ord(character):02X}" for character in '"<>^`{|}'}


def split_query(path: str) -> tuple[str, str]:
    """Path, and the query with its question mark."""
    bare, mark, query = path.partition("?")
    return bare, mark + query


def unescape_slashes(path: str) -> str:
    """%2F and %5C outside the query become the slashes that they stand for."""
    bare, query = split_query(path)
    return _ESCAPED_SLASH.sub(lambda found: chr(int(found[1], 16)), bare) + query


def normalize(path: str) -> str | None:
    """Resolve dot segments and settle escapes; None for a path that is refused (%00)."""
    bare, query = split_query(path)
    bare = _DOT_PARAMETER.sub(r"\1", bare)
    if "%00" in bare:
        return None
    segments: list[str] = []
    written = bare.replace("\\", "/").split("/")[1:]
    for position, segment in enumerate(written):
        is_last = position == len(written) - 1
        dots = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
        if dots not in {".", ".."}:
            segments.append(_settle(segment))
            continue
        if dots == ".." and segments:
            segments.pop()
        if is_last:
            segments.append("")
    return "/" + "/".join(segments) + query


def _settle(segment: str) -> str:
    """Escapes of unreserved characters are undone, and a few characters are escaped; other escapes stay as written."""

    def unescaped(found: re.Match[str]) -> str:
        code = int(found[1], 16)
        return chr(code) if code in _UNRESERVED else found[0]

    return "".join(_ENCODED.get(character, character) for character in _ESCAPE.sub(unescaped, segment))


def merge_slashes(path: str) -> str:
    """Envoy keeps the slashes at both ends, so a path of slashes alone becomes two."""
    bare, query = split_query(path)
    if "//" not in bare:
        return path
    ending = "/" if bare.endswith("/") else ""
    return "/" + "/".join(filter(None, bare.split("/"))) + ending + query
