"""The programs in the kernel: loaded all or none, attached where they are to be, and put back where somebody took them.

What is pinned from before is adopted: its link gets the new program in one step.
Programs look into maps: whoever calls `reconcile` has filled them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from datapath.kernel import clsact
from datapath.kernel.clsact import Hook
from datapath.kernel.libbpf import BpfError
from datapath.kernel.programs import (
    CGROUP_HOOKS,
    MANIFEST,
    Attached,
    Loaded,
    NotShipped,
    Pins,
    Program,
    attach_cgroup,
    attach_netns,
    attach_tc,
    cgroup_id,
    detach,
    is_filter,
    load,
    put_back,
    running,
)
from datapath.topology import Role

OBJECTS: Final = Path(__file__).parent / "bpf/build"

_HOOKS: Final[Mapping[Role, Mapping[Hook, str]]] = {
    Role.WORKLOAD: {"ingress": "from_workload", "egress": "to_workload"},
    Role.STRANGER: {"ingress": "from_stranger"},
    Role.NETWORK: {"ingress": "from_network", "egress": "to_network"},
    Role.TUNNEL: {"ingress": "from_tunnel", "egress": "to_tunnel"},
    Role.HOST: {"ingress": "from_host"},
}
_HOOK_OF: Final[Mapping[str, Hook]] = {name: hook for hooks in _HOOKS.values() for hook, name in hooks.items()}
PROGRAMS_OF_LINKS: Final = frozenset(_HOOK_OF)

log = structlog.get_logger("attachments")

Place = tuple[str, str]
"""Program, and where: a link's ifindex, or a path."""


class Refused(RuntimeError):
    """The programs cannot be loaded; the text says what is missing. Nothing of them is attached."""


class Attachments:
    """`missing` has what is not attached although it is to be, with the reason.

    `behind` has the filters of others that are asked before ours, where there are any.
    """

    def __init__(self, pins: Pins, cgroup: Path, envoy_cgroup: Path, objects: Path = OBJECTS) -> None:
        self._pins, self._cgroup, self._envoy_cgroup, self._objects = pins, cgroup, envoy_cgroup, objects
        self._stack = ExitStack()
        self._loaded: list[Loaded] = []
        self.programs: dict[str, Program] = {}
        self.attached: dict[Place, Attached] = {}
        self.missing: dict[Place, str] = {}
        self.behind: dict[Place, str] = {}
        self.repairs = 0
        self._roles: dict[int, Role] = {}
        self._filters = False
        """Whether programs are filters, as the kernel has no links for TC."""

    def load(self) -> None:
        """Load every object.

        :raises Refused: one was refused.
        """
        self._pins.create()
        fresh = not any(self._pins.links.iterdir())
        try:
            for name in _shipped(self._objects):
                self._loaded.append(self._stack.enter_context(load(self._objects / name, self._pins)))
                self.programs.update(self._loaded[-1].programs)
        except (BpfError, NotShipped) as error:
            self.close()
            if fresh:
                self._pins.remove()
            if isinstance(error, NotShipped):
                raise Refused(str(error)) from None
            raise Refused(f"the kernel refuses {name}: {_reason(error, name)}") from error

    def close(self) -> None:
        """What is attached stays."""
        self._stack.close()

    @property
    def follows(self) -> bool:
        """Whether programs of another layout are attached, which find all that they need."""
        return self._pins.follows

    def leading_off(self) -> frozenset[int]:
        """Links that a daemon before us knew as leading off the node, by their programs."""
        names = {_HOOKS[role]["ingress"] for role in (Role.NETWORK, Role.TUNNEL)}
        pinned = (pin.name.partition("@") for pin in self._pins.links.iterdir())
        filters = {ifindex for ifindex, _ in socket.if_nameindex() for _, name in clsact.own(ifindex) if name in names}
        return frozenset(filters | {int(target) for name, _, target in pinned if name in names})

    def attach_listen(self) -> None:
        """What publishes Envoy's listeners, and has nothing else to look at: before any Envoy begins to listen."""
        self._envoy_cgroup.mkdir(exist_ok=True)
        self._attach(("listen", str(self._envoy_cgroup)))

    def reconcile(self, roles: Mapping[int, Role]) -> None:
        """Attach what the node has once, and to new links and those that have another role now."""
        self._roles = dict(roles)
        for place in (*self._of_node(), *sorted(_places(roles))):
            if place not in self.attached and place not in self.missing:
                self._attach(place)

    def prune(self) -> None:
        """Detach from all other links, also from those that a daemon before us knew.

        What another layout has goes once all is attached here.
        """
        wanted = _places(self._roles)
        for place in [place for place in self.attached if place[0] in PROGRAMS_OF_LINKS and place not in wanted]:
            self.attached.pop(place)
            self.behind.pop(place, None)
        self._prune_filters(wanted)
        for place in [place for place in self.missing if place[0] in PROGRAMS_OF_LINKS and place not in wanted]:
            del self.missing[place]
        for pin in self._pins.links.iterdir():
            name, _, target = pin.name.partition("@")
            if name in PROGRAMS_OF_LINKS and (name, target) not in wanted:
                detach(pin)
                log.info("detached", program=name, link=target)
        self._prune_cgroups()
        for removed in () if self.missing else self._pins.remove_others():
            log.info("removed of another layout", link=removed)

    def _prune_cgroups(self) -> None:
        """Those of a cgroup that was another one's place before."""
        own = {name: str(cgroup_id(self._cgroup)) for name in CGROUP_HOOKS} | {"listen": str(self.envoy_cgroup_id)}
        for pin in self._pins.links.iterdir():
            name, _, target = pin.name.partition("@")
            if own.get(name, target) != target:
                detach(pin)
                log.info("detached", program=name, cgroup=target)

    def _prune_filters(self, wanted: set[Place]) -> None:
        """Where there are no links for TC, and so no pins."""
        if not self._filters:
            return
        for ifindex, name in socket.if_nameindex():
            for hook, program in clsact.own(ifindex):
                if (program, str(ifindex)) not in wanted:
                    clsact.detach(ifindex, hook, program)
                    log.info("detached", program=program, link=name)

    def repair(self) -> None:
        """Attach again what is not there any more, or is another program; try again what failed."""
        for pin in put_back(self._loaded, self._pins):
            self.repairs += 1
            log.warning("pin removed by somebody else", pin=pin)
        for place, attached in tuple(self.attached.items()):
            if not self._runs(place, attached):
                self.repairs += 1
                log.warning("detached by somebody else", program=place[0], target=place[1])
                self._attach(place)
        for place in tuple(self.missing):
            self._attach(place)

    def _runs(self, place: Place, attached: Attached) -> bool:
        name, target = place
        if attached.link is None:
            return is_filter(self.programs[name], int(target), _HOOK_OF[name])
        return running(attached.link, self._pins) is not None

    def _attach(self, place: Place) -> None:
        name, target = place
        try:
            attached = self._attach_program(self.programs[name], target)
        except (OSError, KeyError, NetlinkError) as error:  # a link may go while it is looked at
            self.attached.pop(place, None)
            if place not in self.missing:
                log.warning("not attached", program=name, target=target, error=str(error)[:512])
            self.missing[place] = str(error)[:512]
            return
        self.missing.pop(place, None)
        if place not in self.attached:
            log.info("attached", program=name, target=target, adopted=attached.adopted)
        self.attached[place] = attached

    def _attach_program(self, program: Program, target: str) -> Attached:
        if program.name == "steer":
            return attach_netns(program, self._pins)
        if program.name == "listen":
            return attach_cgroup(program, Path(target), "sockops", self._pins)
        if program.name in CGROUP_HOOKS:
            return attach_cgroup(program, Path(target), program.name, self._pins)
        attached = attach_tc(program, int(target), _HOOK_OF[program.name], self._pins)
        self.behind.pop((program.name, target), None)
        if attached.link is None:
            self._filters = True
            others = clsact.before(int(target), _HOOK_OF[program.name])
            self.behind |= {(program.name, target): ", ".join(others)} if others else {}
        return attached

    def _of_node(self) -> list[Place]:
        """The choice of sockets, and the sockets of processes."""
        hooks = sorted(self.programs.keys() & CGROUP_HOOKS.keys())
        return [("steer", "netns"), *((name, str(self._cgroup)) for name in hooks)]

    @property
    def envoy_cgroup_id(self) -> int:
        return cgroup_id(self._envoy_cgroup)


def _places(roles: Mapping[int, Role]) -> set[Place]:
    return {(name, str(ifindex)) for ifindex, role in roles.items() for name in _HOOKS[role].values()}


def _shipped(objects: Path) -> Iterable[str]:
    try:
        names: list[str] = sorted(json.loads((objects / MANIFEST).read_bytes()))
    except (OSError, ValueError):
        raise Refused(f"{objects} has no BPF objects: build them with `make bpf`") from None
    return names


def _reason(error: BpfError, name: str) -> str:
    lacks = " (sk_lookup came with Linux 5.9)" if name.startswith("steer") else ""
    return f"{error.log or error}{lacks}: Linux 5.10 or newer with BTF is needed"[-4096:]
