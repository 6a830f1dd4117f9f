"""With which capabilities the daemon's work can be done, step by step, by trying without each."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.kernel import clsact, layout, routing, verdicts
from datapath.kernel.layout import Settings
from datapath.kernel.maps import opened
from datapath.kernel.programs import (
    Pins,
    Program,
    attach_cgroup,
    attach_netns,
    attach_tc,
    detach,
    detach_all,
    load,
    running,
)
from tests.kernels.inside.loading import LEAST, SMALL, least, loaded
from tests.kernels.inside.loading import load as load_verbosely
from tests.kernels.inside.rig import OBJECTS, Rig
from tests.kernels.inside.rights import CAPABILITIES, refused, refused_apart

_LOOPBACK: Final = 1


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the daemon does; `undo` takes it back, `again` comes before it."""

    name: str
    do: Callable[[], object]
    undo: Callable[[], object] = lambda: None
    again: Callable[[], object] = lambda: None
    tried: Callable[..., int] = refused


def loading_needs_these_and_no_less(rig: Rig) -> None:
    """BPF and NET_ADMIN are needed, and with PERFMON, and SYS_RESOURCE before 5.11, they are enough."""
    pins = rig.pins("rights")

    def load_all() -> None:
        for name in ("listen", "steer"):
            load(OBJECTS / f"{name}.bpf.o", pins).close()
        load_verbosely(OBJECTS / "traffic.bpf.o", pins, SMALL).close()

    needs = needed(Step("load the smaller programs", load_all, pins.remove, again=pins.create, tried=refused_apart))
    rig.found["capabilities"] = {"load the smaller programs": needs}

    assert {"BPF", "NET_ADMIN"} <= {*needs.split()} <= {*least()}


def attaching_needs_these_and_no_less(rig: Rig) -> None:
    """Nothing that is done after loading needs more than loading does; routes and rules need NET_ADMIN."""
    with prepared(rig) as steps:
        needs = {step.name: needed(step) for step in steps}
    rig.found["capabilities"] |= needs

    assert {} == {name: what for name, what in needs.items() if not set(what.split()) <= {*LEAST}}


@contextmanager
def prepared(rig: Rig) -> Iterator[list[Step]]:
    """Steps in the order of a start; each is done for good before the next one is tried."""
    pins, group = rig.pins("mesh"), rig.group("rights")
    programs = {
        name: each for kind in ("traffic", "steer", "listen") for name, each in loaded(rig, kind).programs.items()
    }
    try:
        yield list(steps(pins, group, programs))
    finally:
        detach_all(pins)
        with suppress(OSError):
            clsact.detach_all(_LOOPBACK)
        routing.remove()


def steps(pins: Pins, group: Path, programs: dict[str, Program]) -> Iterator[Step]:
    def tc() -> Path | None:
        return attach_tc(programs["from_host"], _LOOPBACK, "ingress", pins).link

    def lookup() -> None:
        attach_netns(programs["steer"], pins)

    def undo(name: str) -> None:
        for pin in pins.links.glob(f"{name}*"):
            detach(pin)

    def write() -> None:
        with opened(layout.SETTINGS, pins.maps) as settings:
            settings.put(layout.ONLY, Settings())

    yield Step("attach tc", tc, lambda: undo("from_host"))
    link = tc()
    yield Step("replace tc", tc)
    yield Step("attach sk_lookup", lookup, lambda: undo("steer"))
    lookup()
    yield Step("replace sk_lookup", lookup)
    yield Step("detach sk_lookup", lambda: undo("steer"), lookup)
    yield Step(
        "attach sockops", lambda: attach_cgroup(programs["listen"], group, "sockops", pins), lambda: undo("listen")
    )
    yield Step("write maps", write)
    yield Step("read verdicts", lambda: verdicts.read(pins.maps))
    yield Step("ask what runs", lambda: running(link or pins.links / "steer", pins))
    yield Step("routes and rules", routing.install, routing.remove)


def needed(step: Step) -> str:
    """The fewest capabilities that a step is done with, of those that are tried."""
    enough = list(least())
    if fails(step, enough):
        more = (name for name in CAPABILITIES if name not in enough and not fails(step, [*enough, name]))
        enough.append(next(more, "more than is tried"))
    for name in list(enough):
        fewer = [each for each in enough if each != name]
        if not fails(step, fewer):
            enough = fewer
    return sorted_names(enough)


def fails(step: Step, names: list[str]) -> bool:
    step.again()
    try:
        number = step.tried(step.do, *names)
    finally:
        step.undo()
    assert number in {0, errno.EPERM, errno.EACCES}, f"{step.name} with {names}: {os.strerror(number)}"
    return number != 0


def sorted_names(names: list[str] | tuple[str, ...]) -> str:
    return " ".join(sorted(names))
