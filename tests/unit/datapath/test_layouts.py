"""Folders of pins of other layouts, also where there is none any more."""

from __future__ import annotations

from pathlib import Path

from datapath.kernel import layouts


def test_a_folder_that_somebody_has_removed_has_no_other_layouts(tmp_path: Path) -> None:
    """It is put back a moment later; who asks meanwhile does not end by that."""
    folder = tmp_path / "tidegate" / "3"

    assert ([], False) == (layouts.others(folder), layouts.attached(folder))


def test_other_layouts_are_told_by_their_numbers(tmp_path: Path) -> None:
    """What else is there is nobody's."""
    for name in ("3", "2", "notes"):
        (tmp_path / name / "links").mkdir(parents=True)
    (tmp_path / "2/links/steer").touch()

    assert ([tmp_path / "2"], True) == (layouts.others(tmp_path / "3"), layouts.attached(tmp_path / "3"))
