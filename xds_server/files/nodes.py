"""A YAML document as nodes with their lines, built from libyaml's events; it bounds depth and aliases.

Built without recursion, so that hostile depth costs no stack.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml
from yaml.reader import ReaderError

from xds_server.files.problems import Path

DEPTH: Final = 100
ALIASED: Final = 100_000  # values that aliases may add to a document

_CORE: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset({"str", "int", "float", "bool", "null"})


class Malformed(Exception):  # it is what the text is
    """A text that is no YAML or JSON document; `line` counts from 1 within the text."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.hint = line, message, hint


@dataclass(slots=True)
class Scalar:
    """`tag` is empty for a plain scalar, whose type is in its look."""

    line: int
    tag: str
    text: str
    size: int = 1


@dataclass(slots=True)
class Sequence:
    """`size` counts the values within, those of aliases too."""

    line: int
    items: list[Node] = field(default_factory=list)
    size: int = 1


@dataclass(slots=True)
class Mapping:
    line: int
    items: list[tuple[Node, Node]] = field(default_factory=list)
    size: int = 1
    key: Node | None = None  # waits for its value


Node: TypeAlias = Scalar | Sequence | Mapping


def tree(text: str) -> Node | None:
    """The document's root; None when the text is empty.

    :raises Malformed: it is no YAML, more than one document, or out of bounds.
    """
    building = _Building()
    try:
        for event in yaml.parse(text, yaml.CSafeLoader):
            building.take(event)
    except yaml.MarkedYAMLError as error:
        raise _malformed(text, error) from None
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise Malformed(line, f"no YAML: {error.reason}", "remove the character") from None
    return building.root


def line_of(root: Node | None, path: Path) -> int:
    """The line of a field, or of the nearest part above it that is there."""
    node, line = root, root.line if root else 1
    for step in path:
        if isinstance(node, Mapping):
            found = [(key, item) for key, item in node.items if isinstance(key, Scalar) and key.text == step]
            if not found:
                break
            key, node = found[0]
            line = key.line
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            line = node.line
        else:
            break
    return line


def _malformed(text: str, error: yaml.MarkedYAMLError) -> Malformed:
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    problem = f"no YAML: {error.problem or error.context or 'unreadable'}"
    if mark is None:
        return Malformed(1, problem)
    if error.context and begun and begun.line < mark.line:
        problem += f" ({error.context} that begins {mark.line - begun.line} lines above)"
    hint = "indent with spaces, and quote what begins with % @ or `" if "cannot start any token" in problem else ""
    line = min(mark.line + 1, text.count("\n") or 1)  # the end of the text is on its last line
    return Malformed(line, problem, hint)


class _Building:
    """The nodes that are complete, and those that are open, outermost first."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.anchors: dict[str, Node] = {}
        self.open: list[tuple[Sequence | Mapping, str | None]] = []
        self.aliased = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.AliasEvent() if event.anchor is not None:
                self.add(self.alias(event.anchor, line), None)
            case yaml.ScalarEvent():
                self.add(Scalar(line, _scalar_tag(event, line), event.value), event.anchor)
            case yaml.MappingStartEvent():
                self.begin(Mapping(line), "map", event, line)
            case yaml.SequenceStartEvent():
                self.begin(Sequence(line), "seq", event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self.add(*self.open.pop())
            case yaml.DocumentStartEvent() if self.root is not None:
                raise Malformed(line, "a second document without a --- line before it", "put --- on a line of its own")

    def begin(self, node: Sequence | Mapping, kind: str, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self.open) >= DEPTH:
            raise Malformed(line, f"nested more than {DEPTH} levels deep", "no object of Kubernetes is")
        if event.tag not in {None, "!", _CORE + kind}:
            raise _no_such_tag(event.tag, line)
        self.open.append((node, event.anchor))

    def alias(self, anchor: str, line: int) -> Node:
        node = self.anchors.get(anchor)
        if node is None:
            raise Malformed(line, "an alias without an anchor before it", "quote text that begins with *")
        self.aliased += node.size
        if self.aliased > ALIASED:
            raise Malformed(line, f"aliases add more than {ALIASED} values", "write the values out, or use fewer")
        return node

    def add(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.root = node
            return
        parent, _ = self.open[-1]
        parent.size += node.size
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            parent.items.append((parent.key, node))
            parent.key = None


def _scalar_tag(event: yaml.ScalarEvent, line: int) -> str:
    if event.tag is None or event.tag == "!":
        return "" if event.tag is None and event.implicit[0] else "str"
    name = event.tag.removeprefix(_CORE)
    if name == event.tag or name not in _SCALARS:
        raise _no_such_tag(event.tag, line)
    return name


def _no_such_tag(tag: str, line: int) -> Malformed:
    return Malformed(line, f"the tag {tag[:80]!r} means nothing here", "remove it, or quote the text")
