"""Files are cut into documents where YAML says so, and counted in lines from 1."""

from __future__ import annotations

import pytest

from xds_server.files.documents import FILE_BYTES, Document, Unreadable, split, text_of

CUTS = {
    "one document": ("a: 1\n", [(1, "a: 1")]),
    "two": ("a: 1\n---\nb: 2\n", [(1, "a: 1"), (3, "b: 2")]),
    "a marker first": ("---\na: 1\n", [(2, "a: 1")]),
    "content after the marker": ("--- {a: 1}\n--- {b: 2}\n", [(1, "--- {a: 1}"), (2, "--- {b: 2}")]),
    "a comment after the marker": ("--- # first\na: 1\n", [(1, "--- # first\na: 1")]),
    "comments alone are nothing": ("# only\n---\n# this\n\n---\na: 1\n", [(6, "a: 1")]),
    "directives are nothing": ("%YAML 1.2\n---\na: 1\n", [(3, "a: 1")]),
    "an end marker": ("a: 1\n...\n---\nb: 2\n", [(1, "a: 1"), (4, "b: 2")]),
    "an end marker, then a document": ("a: 1\n...\nb: 2\n", [(1, "a: 1"), (2, "   \nb: 2")]),
    "dashes in a block scalar": ("a: |\n  x\n  ---\n  y\n", [(1, "a: |\n  x\n  ---\n  y")]),
    "dashes that go on": ("a: 1\n----\n", [(1, "a: 1\n----")]),
    "dots that go on": ("a: 1\n...x\n", [(1, "a: 1\n...x")]),
    "a certificate": ("a: |\n  -----BEGIN\n  -----END\n", [(1, "a: |\n  -----BEGIN\n  -----END")]),
    "nothing": ("", []),
    "no line end": ("a: 1", [(1, "a: 1")]),
    "empty documents": ("---\n---\n---\n", []),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_document_ends_at_a_marker_that_begins_a_line(name: str) -> None:
    """Markers count at the beginning of a line and before white space, and nowhere else."""
    text, expected = CUTS[name]

    assert expected == [(line, text.rstrip("\n")) for line, text in split(text)]


def test_line_ends_and_byte_order_marks_do_not_matter() -> None:
    """A file of Windows has the same documents."""
    plain, windows = "a: 1\n---\nb: |\n  x\n  y\n", "\ufeffa: 1\r\n---\r\nb: |\r\n  x\r\n  y\r\n"

    assert split(plain) == split(text_of(windows.encode()))


def test_a_file_that_is_no_text_or_too_large_says_the_way_out() -> None:
    """What cannot be read is refused with a reason and not with a traceback."""
    with pytest.raises(Unreadable, match="byte 3 is no UTF-8") as latin:
        text_of("a: \xe4".encode("latin-1"))
    with pytest.raises(Unreadable, match="bytes are more than") as large:
        text_of(b" " * (FILE_BYTES + 1))

    assert "save the file as UTF-8" == latin.value.hint
    assert "split the file" == large.value.hint


def test_documents_are_told_apart_by_their_text() -> None:
    """A line added above moves a document, and does not change its text."""
    before, after = split("a: 1\n---\nb: 2\n"), split("# new\na: 1\n---\nb: 2\n")

    assert Document(3, "b: 2\n") == before[1]
    assert Document(4, "b: 2\n") == after[1]
