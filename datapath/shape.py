"""Fields and words of a document that a structure does not know, or misses: all of them, and what was meant (pure).

The decoder of a structure tells the first fault alone, and does not say what it would take.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

_LIKE: Final = 0.6
_LONGEST_WORD: Final = 64

MISSING: Final = "it is missing: give it"

Fault = tuple[str, str]
"""The field, from the document's top, and what is wrong with it."""


def sifted(document: object, kind: Any, above: str = "") -> tuple[object, list[Fault]]:
    """A document that is to become a `kind`, without what that does not know: the decoder tells of the rest."""
    if not isinstance(document, dict):
        return document, []
    found = msgspec.structs.fields(kind)
    fields = {field.encode_name: field.type for field in found}
    required = (field.encode_name for field in found if field.required)
    faults = [(f"{above}{name}", MISSING) for name in required if name not in document]
    kept = {}
    for name, value in document.items():
        where = f"{above}{str(name)[:_LONGEST_WORD]}"
        if name not in fields:
            faults.append((where, f"there is no such field: {_meant(str(name), fields)}"))
            continue
        words, inner = _words(fields[name]), _structure(fields[name])
        if words and isinstance(value, str) and value not in words:
            faults.append((where, f"{value[:_LONGEST_WORD]!r}: give {' or '.join(words)}"))
            continue
        kept[name], within = (value, []) if inner is None else sifted(value, inner, f"{where}.")
        faults += within
    return kept, faults


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
