"""A directory is looked at: which files count, and when a change of them counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xds_server.files.directory import SETTLE_S, Directory, Scan
from xds_server.objects.core import Service


def service(name: str, port: object = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n"


def ports(scan: Scan) -> dict[str, int | None]:
    return {ref.name: obj.spec.ports[0].port if isinstance(obj, Service) else None for ref, obj in scan.changes.items()}


def test_manifests_are_found_wherever_they_are(tmp_path: Path) -> None:
    """YAML and JSON in subfolders are read; hidden files and folders, and other suffixes, are not."""
    for name in ("a.yaml", "b.yml", "x/c.yaml", "x/y/d.yml", ".e.yaml", ".x/f.yaml", "g.txt", "h.yaml~", "#i.yaml#"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(service(Path(name).stem.strip(".#")))
    (tmp_path / "j.json").write_text('{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"j"}}')

    assert ["a", "b", "c", "d", "j"] == sorted(ref.name for ref in Directory([tmp_path]).load().changes)


def test_a_file_may_be_named_itself(tmp_path: Path) -> None:
    """A named file is read whatever its suffix, and several may be named."""
    (tmp_path / "a.txt").write_text(service("a"))
    (tmp_path / "b.yaml").write_text(service("b"))

    scan = Directory([tmp_path / "a.txt", tmp_path / "b.yaml"]).load()

    assert {"a": 80, "b": 80} == ports(scan)


def test_a_path_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """It names the path and the way out, and the others are read."""
    (tmp_path / "a.yaml").write_text(service("a"))

    scan = Directory([tmp_path / "none", tmp_path]).load()

    assert {"a": 80} == ports(scan)
    assert [f"{tmp_path}/none:1: cannot be read: No such file or directory; create it, or correct its permissions"] == [
        problem.text.rpartition(";")[0] for problem in scan.problems
    ]


def test_a_loop_of_links_is_walked_once(tmp_path: Path) -> None:
    """A link to a folder above is not followed."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.yaml").write_text(service("a"))
    (tmp_path / "x/up").symlink_to(tmp_path)

    scan = Directory([tmp_path]).load()

    assert ({"a": 80}, ()) == (ports(scan), scan.problems)


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path) -> None:
    """It is named with where it leads; what it held stays until it leads somewhere again, or is removed."""
    folder, outside = tmp_path / "manifests", tmp_path / "outside.yaml"
    folder.mkdir()
    outside.write_text(service("a"))
    (folder / "a.yaml").symlink_to(outside)
    (folder / "b").symlink_to(tmp_path / "gone")
    directory = Directory([folder])
    scan = directory.load()
    [problem] = scan.problems
    assert ({"a": 80}, f"{folder}/b") == (ports(scan), problem.file)
    assert f"is a link to {tmp_path}/gone, which cannot be read: No such file or directory" in problem.text
    (folder / "b").unlink()
    assert () == directory.scan(now=0).problems

    outside.unlink()
    for scan in (directory.scan([f"{folder}/a.yaml"], now=0), directory.scan(now=SETTLE_S), directory.scan(now=9)):
        assert ({}, [f"{folder}/a.yaml"]) == (ports(scan), [problem.file for problem in scan.problems])
    outside.write_text(service("a", 81))
    scan = directory.scan(now=10)
    assert ({"a": 81}, ()) == (ports(scan), scan.problems)
    (folder / "a.yaml").unlink()
    directory.scan(now=20)
    assert {"a": None} == ports(directory.scan(now=30))


def test_removals_count_once_they_have_settled(tmp_path: Path) -> None:
    """A deletion may be the first half of a save; additions and edits count at once."""
    (tmp_path / "a.yaml").write_text(service("a"))
    directory = Directory([tmp_path])
    directory.load()
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text(service("b"))

    assert {"b": 80} == ports(directory.scan(now=0))
    assert {} == ports(directory.scan(now=SETTLE_S / 2))
    assert {"a": None} == ports(directory.scan(now=SETTLE_S))
    assert {} == ports(directory.scan(now=2 * SETTLE_S))


def test_a_truncated_file_that_is_written_again_loses_nothing(tmp_path: Path) -> None:
    """Editors that truncate and write are no deletion, however slow they are at it."""
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + "---\n" + service("b"))
    directory = Directory([tmp_path])
    directory.load()

    path.write_text("")
    assert {} == ports(directory.scan(now=0))
    path.write_text(service("a", 81))
    assert {"a": 81} == ports(directory.scan(now=SETTLE_S))
    path.write_text(service("a", 81) + "---\n" + service("b"))
    assert {} == ports(directory.scan(now=2 * SETTLE_S))
    assert {} == ports(directory.scan(now=3 * SETTLE_S))


def test_an_atomic_save_is_one_edit(tmp_path: Path) -> None:
    """A new file that takes the old one's place changes what differs."""
    (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("b"))
    directory = Directory([tmp_path])
    directory.load()
    (tmp_path / ".a.yaml.swp").write_text(service("a", 81) + "---\n" + service("b"))
    (tmp_path / ".a.yaml.swp").replace(tmp_path / "a.yaml")

    assert {"a": 81} == ports(directory.scan(now=0))


def test_a_mounted_config_map_is_swapped_at_once(tmp_path: Path) -> None:
    """Kubernetes writes a new hidden folder and swaps the link `..data`."""
    for version in (1, 2):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}/a.yaml").write_text(service("a", version))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    directory = Directory([tmp_path])
    before = directory.load()
    (tmp_path / "..tmp").symlink_to("..2")
    (tmp_path / "..tmp").replace(tmp_path / "..data")

    assert ({"a": 1}, {"a": 2}) == (ports(before), ports(directory.scan(now=0)))


def test_a_missing_folder_keeps_what_it_held(tmp_path: Path) -> None:
    """A folder that is unmounted is a problem, and no deletion of everything."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text(service("a"))
    directory = Directory([folder])
    directory.load()
    folder.rename(tmp_path / "away")

    away = [directory.scan(now=0), directory.scan(now=SETTLE_S), directory.scan(now=9)]
    (tmp_path / "away").rename(folder)
    back = directory.scan(now=10)

    assert [({}, 1)] * 3 == [(scan.changes, len(scan.problems)) for scan in away]
    assert ({}, 0) == (back.changes, len(back.problems))


@pytest.mark.parametrize("name", ["a.yaml", "x"])
def test_what_may_not_be_read_keeps_what_it_held(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions are a problem of their file or folder; root may read all, so the refusal is faked."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x/b.yaml").write_text(service("b"))
    (tmp_path / "a.yaml").write_text(service("a"))
    directory = Directory([tmp_path])
    directory.load()
    denied = str(tmp_path / name)
    scandir, opened = os.scandir, Path.open

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: object, *args: object) -> Any:
            if str(path) == denied:
                raise PermissionError(13, "Permission denied")
            return function(path, *args)

        return call

    monkeypatch.setattr(os, "scandir", guarded(scandir))
    monkeypatch.setattr(Path, "open", guarded(opened))
    os.utime(tmp_path / "a.yaml", ns=(1, 1))
    scans = [directory.scan(now=now) for now in (0, 1, 2)]

    assert [{}] * 3 == [scan.changes for scan in scans]
    assert [f"{denied}:1: cannot be read: Permission denied"] == [
        problem.text.partition(";")[0] for problem in scans[-1].problems
    ]


def test_one_file_is_looked_at_alone(tmp_path: Path) -> None:
    """An event about one file costs one file."""
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(service(name))
    directory = Directory([tmp_path])
    directory.load()
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(service(name, 81))

    assert {"a": 81} == ports(directory.scan([str(tmp_path / "a.yaml")], now=0))
    assert {"b": 81} == ports(directory.scan(now=0))
