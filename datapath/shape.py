"""Fields and words of a document that a structure does not know, or misses: all of them, and what was meant (pure).

The decoder of a structure tells the first fault alone, and does not say what it would take.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

_LIKE: Final = 0.6
_LONGEST_WORD: Final = 64

MISSING: Final = "it is missing: give it"

Fault = tuple[str, str]
"""The field, from the document's top, and what is wrong with it."""


def unknown(document: object, kind: Any, above: str = "") -> Iterator[Fault]:
    """Of a document that is to become a `kind`; what the decoder tells of itself is left to it."""
    if not isinstance(document, dict):
        return
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for field in msgspec.structs.fields(kind):
        if field.required and field.encode_name not in document:
            yield f"{above}{field.encode_name}", MISSING
    for name, value in document.items():
        if name not in fields:
            yield f"{above}{str(name)[:_LONGEST_WORD]}", f"there is no such field: {_meant(str(name), fields)}"
            continue
        words = _words(fields[name])
        if words and isinstance(value, str) and value not in words:
            yield f"{above}{name}", f"{value[:_LONGEST_WORD]!r}: give {' or '.join(words)}"
        inner = _structure(fields[name])
        if inner is not None:
            yield from unknown(value, inner, f"{above}{name}.")


def known(document: object, kind: Any) -> object:
    """Without what `unknown` finds, so that the decoder tells what else there is."""
    if not isinstance(document, dict):
        return document
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    kept = {}
    for name, value in document.items():
        words = _words(fields.get(name))
        if name in fields and not (words and isinstance(value, str) and value not in words):
            inner = _structure(fields[name])
            kept[name] = value if inner is None else known(value, inner)
    return kept


def _meant(name: str, fields: dict[str, Any]) -> str:
    folded = {each.lower(): each for each in fields}
    if near := get_close_matches(name.lower(), folded, n=1, cutoff=_LIKE):
        return f"did you mean `{folded[near[0]]}`?"
    return f"there are {', '.join(fields)}"


def _words(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _structure(kind: Any) -> Any | None:
    candidates = (kind, *get_args(kind))
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, msgspec.Struct)), None)
