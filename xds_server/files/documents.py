"""A file's text as its YAML documents, each with the line it begins at; nothing is parsed here.

Documents are told apart by their text, so that an edit costs the parsing of the documents it touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

FILE_BYTES: Final = 64 << 20
DOCUMENTS: Final = 100_000

_NOTHING = re.compile(r"(?:---(?=\s))?(?:[ \t]*(?:#[^\n]*)?\n|%[^\n]*\n)*\Z")


class Document(NamedTuple):
    """`line` is that of the text's first line, counted from 1."""

    line: int
    text: str


class Unreadable(Exception):
    """A file that has no documents at all, and the way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def text_of(content: bytes) -> str:
    """The file's text, with a byte order mark removed and line ends as line feeds.

    :raises Unreadable: it is too large or no UTF-8.
    """
    if len(content) > FILE_BYTES:
        raise Unreadable(f"{len(content)} bytes are more than {FILE_BYTES}", "split the file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"byte {error.start} is no UTF-8", "save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def split(text: str) -> list[Document]:
    """Documents that hold anything but comments and directives.

    "---" and "..." end a document wherever they begin a line and are followed by white space:
    a block scalar is indented, and a quoted one may not contain such a line (YAML 1.2, c-forbidden).

    :raises Unreadable: there are too many.
    """
    found = [_unmarked(piece) for piece in _pieces(text) if not _NOTHING.match(piece.text)]
    if len(found) > DOCUMENTS:
        raise Unreadable(f"{len(found)} documents are more than {DOCUMENTS}", "split the file")
    return found


def _unmarked(piece: Document) -> Document:
    """A document without the line that only begins it, so that the first one of a file may become the second."""
    return Document(piece.line + 1, piece.text[4:]) if piece.text.startswith("---\n") else piece


def _pieces(text: str) -> Iterator[Document]:
    line, piece = 1, ""
    for part in _parts(text):
        if part[:3] in {"---", "..."} and part[3:4] in {"", " ", "\t", "\n"} and piece:
            yield Document(line, piece)
            line += piece.count("\n")
            piece = ""
        # The end marker belongs to no document; its line stays, as white space, so that lines count right.
        piece += "   " + part[3:] if part.startswith("...") and part[3:4] in {"", " ", "\t", "\n"} else part
    yield Document(line, piece)


def _parts(text: str) -> Iterator[str]:
    """The text cut before each line that may be a marker; joined, the parts are the text, its last line ended."""
    for number, rest in enumerate(text.removesuffix("\n").split("\n---")):
        first, *others = rest.split("\n...")
        whole = "---" + first if number else first
        for other in others:
            yield whole + "\n"
            whole = "..." + other
        yield whole + "\n"
