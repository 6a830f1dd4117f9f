"""A directory of manifests is followed while people and programs edit it, by real inotify."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
import watchfiles

from xds_server.files.directory import Directory, Scan
from xds_server.objects.core import Service

PATIENCE_S = 30  # of a test that fails; none waits for it otherwise

World = dict[str, int]


def service(name: str, port: object = 80) -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Follower:
    """What a watch has told so far, applied: the port of each Service by name."""

    def __init__(self, scan: Scan, watch: AsyncIterator[Scan]) -> None:
        self.world: World = {}
        self.scan, self._watch = scan, watch
        self._take(scan)

    def _take(self, scan: Scan) -> None:
        self.scan = scan
        for ref, obj in scan.changes.items():
            if isinstance(obj, Service):
                self.world[ref.name] = obj.spec.ports[0].port
            else:
                del self.world[ref.name]

    def serves(self, name: str, port: int) -> bool:
        return self.world.get(name) == port

    async def until(self, expected: Callable[[], bool]) -> list[dict[str, bool]]:
        """Follow until something holds; returns which objects each scan put (true) or removed."""
        told: list[dict[str, bool]] = []
        async with asyncio.timeout(PATIENCE_S):
            while not expected():
                self._take(await anext(self._watch))
                told.append({ref.name: obj is not None for ref, obj in self.scan.changes.items()})
        return told


@pytest.fixture
async def follower(tmp_path: Path) -> AsyncIterator[Follower]:
    (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("b"))
    directory = Directory([tmp_path])
    scan = directory.load()
    async with aclosing(directory.watch()) as watch:
        yield Follower(scan, watch)


async def test_edits_renames_and_deletes_apply_while_it_runs(tmp_path: Path, follower: Follower) -> None:
    """Each way to change a folder leads to the objects that are in it then."""
    assert {"a": 80, "b": 80} == follower.world

    (tmp_path / "a.yaml").write_text(service("a", 81) + "---\n" + service("b"))
    assert [{"a": True}] == await follower.until(lambda: follower.world == {"a": 81, "b": 80})

    put(tmp_path / "x/y/c.yml", service("c"))
    await follower.until(lambda: follower.world == {"a": 81, "b": 80, "c": 80})
    (tmp_path / "x/y/c.yml").write_text(service("c", 82))
    await follower.until(lambda: follower.world["c"] == 82)

    (tmp_path / "a.yaml").rename(tmp_path / "x/a.yaml")
    (tmp_path / "d.yaml").write_text(service("d"))
    assert [{"d": True}] == await follower.until(lambda: "d" in follower.world)

    (tmp_path / ".d.yaml.tmp").write_text(service("d", 83))
    (tmp_path / ".d.yaml.tmp").replace(tmp_path / "d.yaml")
    await follower.until(lambda: follower.world["d"] == 83)

    shutil.rmtree(tmp_path / "x/y")
    await follower.until(lambda: "c" not in follower.world)
    assert {"a": 81, "b": 80, "d": 83} == follower.world


async def test_a_bad_edit_loses_nothing_and_is_told(tmp_path: Path, follower: Follower) -> None:
    """The problem has file and line; when it is corrected, it is gone."""
    path = tmp_path / "a.yaml"
    path.write_text(service("a") + "---\n" + service("b", "eighty"))
    await follower.until(lambda: bool(follower.scan.problems))
    [problem] = follower.scan.problems

    assert (str(path), 15, "spec.ports[0].port") == (problem.file, problem.line, problem.field)
    assert {"a": 80, "b": 80} == follower.world

    path.write_text(service("a") + "---\n" + service("b", 81))
    await follower.until(lambda: not follower.scan.problems)
    assert {"a": 80, "b": 81} == follower.world


async def test_a_slow_writer_loses_nothing(tmp_path: Path, follower: Follower) -> None:
    """A file that is truncated and written piece by piece never takes an object away."""
    told: list[dict[str, bool]] = []
    with (tmp_path / "a.yaml").open("w") as file:
        pieces = (service("a", 81), "---\n", service("b", 81)[:30], service("b", 81)[30:])
        for number, piece in enumerate(pieces):
            file.write(piece)
            file.flush()
            (tmp_path / "other.yaml").write_text(service("other", 1 + number))
            told += await follower.until(partial(follower.serves, "other", 1 + number))
    told += await follower.until(lambda: follower.world["b"] == 81)

    assert 81 == follower.world["a"]
    assert all(put for changes in told for put in changes.values())


async def test_a_mounted_config_map_is_followed(tmp_path: Path) -> None:
    """The swap of `..data` is seen, and so is an edit behind a link that leads out of the folder."""
    folder, outside = tmp_path, tmp_path.with_name(f"{tmp_path.name}-outside.yaml")
    for version in (1, 2):
        put(folder / f"..{version}/a.yaml", service("a", version))
    (folder / "..data").symlink_to("..1")
    (folder / "a.yaml").symlink_to("..data/a.yaml")
    outside.write_text(service("o"))
    (folder / "o.yaml").symlink_to(outside)
    directory = Directory([folder])
    scan = directory.load()
    async with aclosing(directory.watch()) as watch:
        follower = Follower(scan, watch)
        (folder / "..tmp").symlink_to("..2")
        (folder / "..tmp").replace(folder / "..data")
        await follower.until(lambda: follower.world == {"a": 2, "o": 80})
        outside.write_text(service("o", 81))
        await follower.until(lambda: follower.world == {"a": 2, "o": 81})


async def test_a_folder_that_is_made_anew_is_followed_again(tmp_path: Path, follower: Follower) -> None:
    """A removed folder is a problem; the one that takes its place is watched like the first."""
    shutil.rmtree(tmp_path)
    await follower.until(lambda: bool(follower.scan.problems))
    assert {"a": 80, "b": 80} == follower.world

    put(tmp_path / "z.yaml", service("z"))
    await follower.until(lambda: follower.world == {"z": 80})
    (tmp_path / "z.yaml").write_text(service("z", 81))
    await follower.until(lambda: follower.world == {"z": 81})


async def test_without_inotify_edits_are_found_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is out of watches is slower, and misses nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watchfiles, "awatch", refuse)
    (tmp_path / "a.yaml").write_text(service("a"))
    directory = Directory([tmp_path])
    scan = directory.load()
    async with aclosing(directory.watch()) as watch:
        follower = Follower(scan, watch)
        (tmp_path / "a.yaml").write_text(service("a", 81))
        await follower.until(lambda: follower.world == {"a": 81})
        (tmp_path / "a.yaml").unlink()
        await follower.until(lambda: follower.world == {})


async def test_a_named_file_is_followed(tmp_path: Path) -> None:
    """Without any folder to watch, the file itself is looked at."""
    path = tmp_path / "a.yaml"
    path.write_text(service("a"))
    directory = Directory([path])
    scan = directory.load()
    async with aclosing(directory.watch()) as watch:
        follower = Follower(scan, watch)
        path.write_text(service("a", 81))
        await follower.until(lambda: follower.world == {"a": 81})
