"""YAML and JSON as plain values, the way Kubernetes reads them.

Kubernetes reads YAML 1.1 with few exceptions: `yes` is true, `010` is 8, `<<` merges, timestamps are text, a key is
text, and a key that comes twice is an error.
Two readers that agree share the work.
ryaml (serde-yaml, YAML 1.2) refuses duplicate keys, bounds depth and aliases, and needs a third of the time of
PyYAML's CSafeLoader, which takes the last of duplicate keys, makes dates of timestamps, and does not bound what
aliases stand for; so ryaml reads whatever both versions of YAML read alike.
A text with an anchor, a tag, a merge, or a plain scalar on which the versions differ is read from libyaml's events
by `nodes`, and so is every text that ryaml or a check refuses: errors are made in one place, with lines.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import ryaml

from xds_server.files.nodes import Malformed, Mapping, Node, Scalar, Sequence, tree

# After what may come before a plain scalar: what YAML 1.1 and 1.2 read differently, and what is no plain scalar.
_VERSIONS_DIFFER: Final = re.compile(
    r"""[\s,\[{?:](?:
        (?:[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|[-+]?0[0-9oO_][0-9_]*
           |[-+.0-9][-+.0-9a-fA-FxX]*_[-+.0-9a-fA-FxX_]*)(?=[\s,\]}:]|\Z)
        | ! | [&*]\S
        | <<
    )|[\x85\u2028\u2029]""",
    re.VERBOSE,
)
_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_SPECIAL: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGERS: Final = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+"), 16),
    (re.compile(r"[-+]?0[bB][01]+"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+"), 8),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})"), 10),
)
_TAGGED: Final[dict[str, tuple[type, ...]]] = {
    "": (object,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}


def quick(text: str) -> tuple[bool, Any]:
    """The document's value, when the fast reader is sure to read it as Kubernetes does."""
    if _VERSIONS_DIFFER.search("\n" + text):
        return False, None
    try:
        return True, ryaml.loads(text)  # type: ignore[attr-defined]  # re-exported without saying so
    except (ryaml.InvalidYamlError, ValueError):  # type: ignore[attr-defined]  # as above
        return False, None


def exact(text: str) -> Any:
    """The document's value.

    :raises Malformed: it is no document, or one out of bounds.
    """
    root = tree(text)
    return None if root is None else value(root)


def json_value(text: str) -> Any:
    """A JSON document's value; keys must differ, and there is no NaN.

    :raises Malformed: it is no JSON document.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # an escape may be half of a character
    except json.JSONDecodeError as error:
        raise Malformed(error.lineno, f"no JSON: {error.msg}") from None
    except UnicodeEncodeError:
        raise Malformed(1, "no JSON: half of a character", "write the character itself") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Malformed(1, f"no JSON that is read here: {reason}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)[:80]!r}")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def value(node: Node) -> Any:
    """What a node says.

    :raises Malformed: a key comes twice, or is no text.
    """
    if isinstance(node, Scalar):
        return scalar(node)
    if isinstance(node, Sequence):
        return [value(item) for item in node.items]
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, item in node.items:
        if isinstance(key, Scalar) and key.tag == "" and key.text == "<<":
            for source in _merged(item):
                merged = {**value(source), **merged}
            continue
        name = _key(key)
        if name in own:
            raise Malformed(key.line, f"the key {name[:80]!r} is there twice", "remove one")
        own[name] = value(item)
    return {**merged, **own} if merged else own


def _merged(node: Node) -> list[Mapping]:
    sources = node.items if isinstance(node, Sequence) else [node]
    mappings = [source for source in sources if isinstance(source, Mapping)]
    if len(mappings) != len(sources):
        raise Malformed(node.line, "<< merges mappings only", "write the fields out")
    return mappings


def _key(node: Node) -> str:
    found = scalar(node) if isinstance(node, Scalar) else None
    if found is None:
        raise Malformed(node.line, "a key is text", "quote it")
    return found if isinstance(found, str) else json.dumps(found)


def scalar(node: Scalar) -> str | int | float | bool | None:
    """A scalar as goyaml resolves it: by its tag, or by its look when it is plain."""
    if node.tag == "str":
        return node.text
    found = _resolved(node.text, node.line)
    if not isinstance(found, _TAGGED[node.tag]):
        raise Malformed(node.line, f"no {node.tag}, though tagged as one", "remove the tag")
    return found


def _resolved(text: str, line: int) -> str | int | float | bool | None:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _SPECIAL.fullmatch(text):
        raise Malformed(line, f"{text} is no number of JSON", f'quote it: "{text}"')
    digits = text.replace("_", "") if text[0] in "+-.0123456789" else ""
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(digits):
            return int(digits, base)
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        if math.isinf(number):
            raise Malformed(line, "a number without bounds", "quote it")
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return text
