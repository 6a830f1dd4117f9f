"""What of a document is not as a structure wants it: all faults of fields, words and types, and what was meant (pure).

The decoder of a structure tells the first fault alone, and does not say what it would take.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

_LIKE: Final = 0.6
_LONGEST_WORD: Final = 64

_MISSING: Final = "it is missing: give it"

Fault = tuple[str, str]
"""The field, from the document's top, and what is wrong with it."""


Hook = Callable[[type, object], object]
"""Makes a value of a type that the decoder does not know, as its `dec_hook`."""


def sifted(document: object, kind: Any, hook: Hook, above: str = "") -> tuple[object, list[Fault]]:
    """A document that is to become a `kind`, without what is wrong."""
    if not isinstance(document, dict):
        return document, []
    found = msgspec.structs.fields(kind)
    fields = {field.encode_name: field.type for field in found}
    required = (field.encode_name for field in found if field.required)
    faults = [(f"{above}{name}", _MISSING) for name in required if name not in document]
    kept = {}
    for name, value in document.items():
        where = f"{above}{str(name)[:_LONGEST_WORD]}"
        if name not in fields:
            faults.append((where, f"there is no such field: {_meant(str(name), fields)}"))
            continue
        words, inner = _words(fields[name]), _structure(fields[name])
        if words and isinstance(value, str) and value not in words:
            faults.append((where, f"{value[:_LONGEST_WORD]!r}: give {' or '.join(words)}"))
        elif inner is not None and isinstance(value, dict):
            kept[name], within = sifted(value, inner, hook, f"{where}.")
            faults += within
        elif (why := _misfit(value, fields[name], hook)) is not None:
            faults.append((where + why[0], why[1]))
        else:
            kept[name] = value
    return kept, faults


def _misfit(value: object, kind: Any, hook: Hook) -> Fault | None:
    """Where in it, and what is wrong there."""
    try:
        msgspec.convert(value, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        return where.rstrip("`"), f"{what[0].lower()}{what[1:]}: correct it"
    return None


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
