"""YAML and JSON as plain values, the way Kubernetes reads them, and the line of a field.

Kubernetes reads YAML 1.1 with few exceptions: `yes` is true, `010` is 8, `<<` merges, timestamps are text, a key is
text, and a key that comes twice is an error.
Two readers that agree share the work.
ryaml (serde-yaml, YAML 1.2) refuses duplicate keys, bounds depth and aliases, and needs about a fifth of the time of
PyYAML's CSafeLoader, which takes the last of duplicate keys, makes dates of timestamps, and expands aliases without
bound; so ryaml reads whatever both versions of YAML read alike.
A text with an anchor, a tag, a merge, or a plain scalar on which the versions differ is read from libyaml's events
by `tree` and `value`, and so is every text that ryaml or a check refuses: errors are made in one place, with lines.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

import ryaml
import yaml

from xds_server.files.problems import Path

DEPTH: Final = 100
NODES: Final = 5_000_000  # of a document, each alias counted with all that it stands for
ALIASED: Final = 100_000  # of these, those that aliases may add

# After what may come before a plain scalar: what YAML 1.1 and 1.2 read differently, and what is no plain scalar.
_VERSIONS_DIFFER: Final = re.compile(
    r"""[\s,\[{?](?:
        (?:[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF|[-+]?0[0-9o_][0-9_]*|[-+.0-9]*_[-+.0-9_eE]*)(?=[\s,\]}:]|\Z)
        | [&*!][^\s]
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
_TAGS: Final = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")}


class Malformed(Exception):  # noqa: N818  it is what the text is
    """A text that is no YAML or JSON document; `line` counts from 1 within the text."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


@dataclass(slots=True)
class Node:
    """A YAML node with its line, counted from 1; `content` is text, a list of nodes, or a list of pairs of them."""

    line: int
    tag: str
    content: str | list[Node] | list[tuple[Node, Node]]
    plain: bool = False
    size: int = 1


def quick(text: str) -> tuple[bool, Any]:
    """The document's value, when the fast reader is sure to read it as Kubernetes does."""
    if _VERSIONS_DIFFER.search(text):
        return False, None
    try:
        return True, ryaml.loads(text)
    except (ryaml.InvalidYamlError, ValueError):
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
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise Malformed(error.lineno, f"no JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Malformed(1, f"no JSON that is read here: {reason}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)[:80]!r}")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def tree(text: str) -> Node | None:
    """The document as nodes; None when it is empty.

    Built from events and not by recursion, so that depth costs no stack.

    :raises Malformed: it is no YAML, more than one document, or out of bounds.
    """
    try:
        return _tree(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "indent with spaces" if "\\t" in str(error.problem) else ""
        problem = f"no YAML: {error.problem or error.context or 'unreadable'}"
        if error.context and error.context_mark and mark and error.context_mark.line != mark.line:
            problem += f" ({error.context} that begins {mark.line - error.context_mark.line} lines above)"
        line = min(mark.line + 1, text.count("\n") or 1) if mark else 1  # the end of the text is on its last line
        raise Malformed(line, problem, hint) from None
    except (yaml.YAMLError, ValueError) as error:
        before = text[: error.position] if isinstance(error, yaml.reader.ReaderError) else ""
        raise Malformed(before.count("\n") + 1, f"no YAML: {getattr(error, 'reason', error)}") from None


def _tree(text: str) -> Node | None:
    root: Node | None = None
    anchors: dict[str, Node] = {}
    open_: list[tuple[Node, str | None]] = []
    keys: list[Node | None] = []  # for each open mapping the key that waits for its value
    aliased = 0

    for event in yaml.parse(text, yaml.CSafeLoader):
        line = event.start_mark.line + 1
        match event:
            case yaml.AliasEvent():
                if event.anchor not in anchors:
                    raise Malformed(
                        line,
                        f"the alias *{event.anchor[:80]} has no anchor before it",
                        f'quote it: "*{event.anchor[:80]}"',
                    )
                node = anchors[event.anchor]
                aliased += node.size
                if aliased > ALIASED:
                    raise Malformed(
                        line, f"aliases add more than {ALIASED} values", "write the values out, or use fewer"
                    )
                anchor = None
            case yaml.ScalarEvent():
                anchor = event.anchor
                tag = _tag(event.tag, line) if event.tag and event.tag != "!" else ""
                node = Node(
                    line, tag or ("" if event.style is None and event.tag is None else "str"), event.value, plain=True
                )
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(open_) >= DEPTH:
                    raise Malformed(line, f"nested more than {DEPTH} levels deep")
                kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
                if event.tag not in {None, "!"} and _tag(event.tag, line) != kind:
                    raise Malformed(line, "a tag that does not fit", "remove it")
                open_.append((Node(line, kind, []), event.anchor))
                keys.append(None)
                continue
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                keys.pop()
                node, anchor = open_.pop()
            case yaml.DocumentStartEvent():
                if root is not None:
                    raise Malformed(
                        line, "a second document without a --- line before it", "put --- on a line of its own"
                    )
                continue
            case _:
                continue
        if anchor:
            anchors[anchor] = node
        if not open_:
            root = node
            continue
        parent, _ = open_[-1]
        parent.size += node.size
        if parent.tag == "seq":
            parent.content.append(node)  # type: ignore[union-attr, arg-type]
        elif keys[-1] is None:
            keys[-1] = node
        else:
            parent.content.append((keys[-1], node))  # type: ignore[union-attr, arg-type]
            keys[-1] = None
    return root


def _tag(tag: str, line: int) -> str:
    if tag not in _TAGS:
        raise Malformed(line, f"the tag {tag[:80]!r} means nothing in a manifest", "remove it, or quote the text")
    return _TAGS[tag]


def value(node: Node) -> Any:
    """What a node says.

    :raises Malformed: a key comes twice, or is no scalar.
    """
    if isinstance(node.content, str):
        return scalar(node)
    if node.tag == "seq":
        return [value(item) for item in node.content]  # type: ignore[arg-type]
    own: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, item in node.content:  # type: ignore[misc]
        if key.tag == "" and key.content == "<<":
            for source in _merged(item):
                merged = {**value(source), **merged}
            continue
        name = _key(key)
        if name in own:
            raise Malformed(key.line, f"the key {name[:80]!r} is there twice", "remove one")
        own[name] = value(item)
    return {**merged, **own} if merged else own


def _merged(node: Node) -> list[Node]:
    sources = node.content if node.tag == "seq" else [node]
    if not all(isinstance(source, Node) and source.tag == "map" for source in sources):
        raise Malformed(node.line, "<< merges mappings only", "write the fields out")
    return sources  # type: ignore[return-value]


def _key(node: Node) -> str:
    found = scalar(node) if isinstance(node.content, str) else None
    if found is None:
        raise Malformed(node.line, "a key is text", "quote it")
    if isinstance(found, bool):
        return "true" if found else "false"
    return found if isinstance(found, str) else json.dumps(found)


def scalar(node: Node) -> str | int | float | bool | None:
    """A scalar as goyaml resolves it: by its tag, or by its look when it is plain."""
    text = str(node.content)
    if node.tag == "str":
        return text
    found = _resolved(text, node.line)
    wanted = {"": object, "int": int, "float": (int, float), "bool": bool, "null": type(None)}[node.tag]
    if not isinstance(found, wanted):  # type: ignore[arg-type]
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


def line_of(root: Node | None, path: Path) -> int:
    """The line of a field, or of the nearest part above it that is there."""
    if root is None:
        return 1
    node, line = root, root.line
    for step in path:
        if isinstance(step, int):
            if node.tag != "seq" or step >= len(node.content):
                return line
            node = node.content[step]  # type: ignore[assignment]
            line = node.line
            continue
        if node.tag != "map":
            return line
        found = [(key, item) for key, item in node.content if key.content == step]  # type: ignore[misc]
        if not found:
            return line
        key, node = found[0]
        line = key.line
    return line
