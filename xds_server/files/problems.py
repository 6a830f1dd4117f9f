"""What is said of manifests: problems, which keep an object or a document out, and notices, which change nothing.

A problem never holds a value of a Secret: the checks that make it are told which kind they look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xds_server.model.refs import ObjectRef

Path = tuple[str | int, ...]
NOWHERE = ObjectRef("", "", "")


def spelled(path: Path) -> str:
    """A field's path as people write it: `spec.rules[0].matches`; keys that are not plain names are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "").isalnum():
            text += f".{step}" if text else step
        else:
            text += f"[{step[:80]!r}]"
    return text


def one_line(text: str) -> str:
    """Text from outside as it may stand in a log line or on a terminal: printable, and of bounded length."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return shown if len(shown) <= 300 else shown[:297] + "..."


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before its place is known: a path into the object, what is wrong, and the way out."""

    path: Path
    message: str
    hint: str = ""

    def below(self, *steps: str | int) -> Finding:
        return Finding((*steps, *self.path), self.message, self.hint)


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` counts from 1; `object` is NOWHERE when the document does not say which it is.

    What an API server has is in no file: `file` is "", `line` 0.
    """

    file: str
    line: int
    object: ObjectRef
    field: str
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        kind, namespace, name = self.object
        subject = " ".join(filter(None, (kind, "/".join(filter(None, (namespace, name))))))
        place = f"{self.file}:{self.line}" if self.file else ""
        where = ": ".join(filter(None, (place, subject, self.field)))
        return one_line(f"{where}: {self.advice}")

    @property
    def advice(self) -> str:
        """What is wrong, and the way out."""
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            **self.object._asdict(),
            "field": self.field,
            "message": one_line(self.advice),
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class Notice:
    """A document of a kind that exists but is not read here."""

    file: str
    line: int
    object: ObjectRef
    message: str

    @property
    def text(self) -> str:
        kind, namespace, name = self.object
        return one_line(f"{self.file}:{self.line}: {kind} {'/'.join(filter(None, (namespace, name)))}: {self.message}")

    def as_json(self) -> dict[str, Any]:
        return {**self.object._asdict(), "field": "", "message": f"{self.file}:{self.line}: {self.message}"}
