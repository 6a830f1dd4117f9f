"""What is missing is named before anything is loaded; what is pinned is root's alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datapath.kernel import features, layout
from datapath.kernel.libbpf import BpfError
from datapath.kernel.maps import opened
from datapath.kernel.programs import load
from tests.kernels.inside.mesh import mesh
from tests.kernels.inside.rig import OBJECTS, Rig
from tests.kernels.inside.rights import only

_NOBODY = 65534
_TYPES = Path("/sys/kernel/btf")


def this_kernel_has_every_kind_of_program_and_map(rig: Rig) -> None:
    """Nothing is said to be absent where everything works; a process without rights is told that all is."""
    assert [] == features.absent()
    with only():
        assert {"tc", "sockops", "cgroup/connect", "sk_lookup"} <= {*features.absent()}


def a_kernel_that_hides_its_types_keeps_nothing(rig: Rig) -> None:
    """Without BTF an object that asks for it is refused; no link is left behind, and `remove` takes the maps away."""
    pins = rig.pins("hidden")
    said: BpfError | None = None
    with hidden(_TYPES):
        try:
            load(OBJECTS / "sockets.bpf.o", pins).close()
        except BpfError as error:
            said = error

    assert said is not None
    assert "BTF" in said.log
    assert [] == list(pins.links.iterdir())
    pins.remove()
    assert not pins.folder.exists()


def an_object_that_does_not_load_leaves_what_runs_alone(rig: Rig) -> None:
    """Maps of another size in the place of ours: the load is refused by the map's name, and every link is as before."""
    here = mesh(rig)
    before = sorted(pin.name for pin in here.pins.links.iterdir())
    pins = rig.pins("occupied")
    load(OBJECTS / "listen.bpf.o", pins, {"listeners": 1}).close()
    said = ""
    try:
        load(OBJECTS / "steer.bpf.o", pins).close()
    except BpfError as error:
        said = str(error)

    assert "listeners" in said
    assert [] == list(pins.links.iterdir())
    assert before == sorted(pin.name for pin in here.pins.links.iterdir())


def pins_are_for_root_alone(rig: Rig) -> None:
    """Every folder of ours is 0700, and another user can open nothing in it."""
    here = mesh(rig)
    folders = [here.pins.folder.parent, here.pins.folder, here.pins.maps, here.pins.links]

    assert [0o700] * len(folders) == [folder.stat().st_mode & 0o777 for folder in folders]
    assert {0} == {folder.stat().st_uid for folder in folders}
    child = os.fork()
    if child == 0:
        os._exit(as_nobody(here.pins.maps))
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def as_nobody(maps: Path) -> int:
    """In a process of its own, which ends without a word."""
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        opened(layout.SERVICES, maps)
    except PermissionError:
        return 0
    except BpfError as error:
        return 0 if isinstance(error, PermissionError) or error.errno in {1, 13} else 2
    except BaseException:  # noqa: BLE001  (a child must never return into the cases)
        return 3
    return 1


@contextmanager
def hidden(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
