"""What is accepted, where things are, and what Envoy has: brought into the kernel whenever one of them changes.

Nothing is taken out of the kernel before a server, or the file of what was accepted, has said what is to be there.
Maps are filled before a program is attached that looks into them: so one of another layout goes on until all that it
does is done by the next.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NoReturn

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from datapath import accepted, workloads
from datapath.ageing import Ageing
from datapath.announcing import Announcing, answers, mac_entries, macs
from datapath.attachments import Attachments
from datapath.config import Config
from datapath.discovery import Accepted, Discovery, Key, types
from datapath.enrolment import Enrolment
from datapath.envoy import Envoy
from datapath.intercept import Intercept, steered
from datapath.kernel import routing
from datapath.kernel.layout import NODE_PORT_FIRST, NODE_PORTS, ONLY, Settings
from datapath.kernel.listening import listening
from datapath.kernel.routing import Installed
from datapath.kernel.sysctls import Sysctls, migrate_requests, reserve_ports
from datapath.outcome import Outcome
from datapath.reach import Reach
from datapath.resources import ANNOUNCEMENTS, SERVICE, Address
from datapath.resources import WORKLOADS as WORKLOADS_TYPE
from datapath.serving import exposed, overlaid
from datapath.tables import Maps
from datapath.topology import (
    Problem,
    Topology,
    inlets,
    leading_off,
    link_entries,
    node_entries,
    outward,
    primary,
    roles,
    workload_entries,
)
from datapath.view import View
from xds_server.proxy.process import delay_s

HOLD_OFF_S: Final = 0.02
"""A lone change is done at once; the rest of a burst is gathered for so long, and for twice as long as it took."""

GRACE_S: Final = 0.01
"""A program that has looked a service up has looked its backend up too, or looks again."""

REPAIR_S: Final = 1.0
COMPARED_TURNS: Final = 30
"""So many repairs after another the maps are compared, which of many services takes a while."""
POLL_S: Final = 0.25
"""Envoy is asked for listeners so often, while one is awaited."""
SEEK_S: Final = 1.0
"""A pod without a link of its own is looked for so often: nobody tells of addresses in its namespace."""
_SO_NETNS_COOKIE: Final = 71
_FILLING: Final = frozenset({"settings", "node addresses", "link addresses", "workloads", "services", "backends"})
"""What is tried before programs are attached."""

Settled = Callable[[int, Collection[str], Mapping[Key, str]], None]
"""Of so many responses, the types that are in the kernel, and what it refused of them."""

log = structlog.get_logger("node")


class Node:
    """Everything between the shells: `changed` is set by each of them."""

    def __init__(
        self,
        config: Config,
        discovery: Discovery,
        envoy: Envoy,
        attachments: Attachments,
        maps: Maps,
        sysctls: Sysctls,
    ) -> None:
        self.config, self.discovery, self.envoy = config, discovery, envoy
        self.attachments, self.maps, self.sysctls = attachments, maps, sysctls
        self.outcome = Outcome()
        self.changed = asyncio.Event()
        self.announcing = Announcing(maps.answers, lambda: outward(self.outcome.topology))
        self.ageing = Ageing(maps.connections, maps.translations)
        self.connected: Callable[[], bool] = lambda: False
        """Whether there is a server that would say so if something had changed."""
        self.settled: Settled = lambda *_: None
        self.reach = Reach(envoy, attachments, self.outcome, maps.listeners)
        self.errors = self.repairs = 0
        self._loop = asyncio.get_running_loop()
        envoy.on_change, envoy.named = self.changed.set, self.named
        self._intercept = Intercept()
        self._at_work = asyncio.Lock()
        self._unwritten = False
        self._podless = False
        self._problems: frozenset[Problem] = frozenset()
        self._leading_off = attachments.leading_off()
        """The links that led off the node when some last did."""
        self._failures = 0
        self._installed: Installed | None = None
        """The rules and routes, as they were made last."""
        pinned = {key: entry.flags for key, entry in maps.services.entries.items()}
        self.outcome.active = steered(discovery.accepted().services(), pinned)
        links = {key.address: found.ifindex for key, found in maps.workloads.entries.items()}
        self._enrolment = Enrolment(_uids(discovery.accepted()), links)
        self._show()

    def accept(self) -> None:
        """Something was accepted."""
        self._unwritten = True
        self.changed.set()

    def named(self) -> frozenset[str]:
        """Listeners that accepted services name."""
        return frozenset(
            frontend.listener
            for service in self.discovery.accepted().services()
            for frontend in service.frontends
            if frontend.listener
        )

    async def run(self) -> NoReturn:
        """Bring the kernel up to date whenever something changes; what failed is tried again."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            wait_s = await self._updated()
            await asyncio.sleep(max(HOLD_OFF_S, 2 * (clock() - began)))
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.changed.wait()

    async def watch(self) -> NoReturn:
        """Follow the node's links, addresses and routes."""
        while True:
            try:
                await workloads.watch(self.changed.set)
            except workloads.UNANSWERED as error:  # as when more happened than the socket has room for
                log.warning("netlink ended", error=str(error))
                self.changed.set()
                await asyncio.sleep(HOLD_OFF_S)

    async def repair(self) -> NoReturn:
        """Put back what somebody else has taken."""
        turns = 0
        while True:
            await asyncio.sleep(REPAIR_S)
            turns += 1
            async with self._at_work:
                if not turns % COMPARED_TURNS:
                    await self._tried("comparison", self._compare)
                    await self._tried("processes", lambda: self._look_for_processes(self.discovery.accepted()))
                await self._tried("services that were Envoy's", self.maps.services.expire)
                await self._tried("attachments", self.attachments.repair)
                await self._tried("routes", self._route)
                await self._tried("sysctls", self._change)
                await self._tried("settings", lambda: self._set(self.outcome.topology))
                await self._announce(self.discovery.accepted())
                await asyncio.to_thread(self._show)
                await self.reach.look()

    def _look_for_processes(self, taken: Accepted) -> None:
        """At ports of the node that a service has: they hear from nobody outside any more, and nothing tells them."""
        try:
            there = listening()
        except OSError:  # a kernel without inet_diag does not tell, and nothing else needs it
            return
        found = overlaid(taken.services(), self.outcome.topology.addresses, there)
        for port, name in sorted(found.items() - self.outcome.overlaid.items()):
            log.warning("a process listens at a port that a service has", port=port, service=name)
        self.outcome.overlaid = found

    def _compare(self) -> None:
        """Entries that somebody else has written or deleted are put right."""
        own = self.maps
        for maps in (own.services, own.workloads, own.addresses, own.link_addresses, own.macs):
            if maps.is_foreign():
                log.warning("maps changed by somebody else", maps=type(maps).__name__)
                self.repairs += 1
                maps.read()
                self._loop.call_soon_threadsafe(self.changed.set)

    async def _updated(self) -> float | None:
        """How long to wait for a change before the next try; None for ever."""
        await self.envoy.adopted.wait()
        self.changed.clear()
        outcome = self.outcome
        taken = self.discovery.accepted()  # what comes meanwhile is not in the file either
        await self._persist(taken)
        self._count(taken)
        pods, uids = [pod.addresses for pod in taken.pods()], _uids(taken)
        held = {key.address: entry.ifindex for key, entry in self.maps.workloads.entries.items()}
        try:
            found = await workloads.survey(
                pods, held, self._leading_off, self.config.devices, self.config.own_addresses
            )
        except workloads.UNANSWERED as error:  # as when a link goes while it is looked at
            log.warning("netlink not answered", error=str(error))
            return delay_s(1, 0.5)
        self._leading_off = leading_off(found) or self._leading_off
        outcome.topology = self._enrolled(found, uids)
        self._say(found.problems)
        active = await self.envoy.active()
        if active is not None:
            outcome.active = active
        async with self._at_work:
            await self._fill(taken)
            if await self._may_attach(taken):
                await self._attach(prune=WORKLOADS_TYPE in taken.heard)
            await self._announce(taken)
            outcome.heard = taken.heard
            outcome.runs += 1
            await asyncio.to_thread(self._show)
            self.settled(taken.responses, self._written(), self._refused())
        if outcome.faults or self.maps.services.failed or self.maps.unfit():
            self._failures += 1
            self.errors += 1
            return delay_s(self._failures, 0.5)
        self._failures = 0
        if (outcome.services.awaited and active is not None) or self._enrolment.waiting:
            return POLL_S
        return SEEK_S if outcome.topology.lost else None

    def _count(self, taken: Accepted) -> None:
        """Say once that no pod is left, or was ever told of: so it looks when the node's name is wrong."""
        podless = WORKLOADS_TYPE in taken.heard and not taken.pods()
        if podless and not self._podless:
            log.warning("the control plane has no pods for this node", node=self.config.node)
        self._podless = podless

    def _say(self, problems: Collection[Problem]) -> None:
        """Each once, for as long as it lasts."""
        for what, advice in problems:
            if (what, advice) not in self._problems:
                log.warning("something is wrong", what=what, do=advice)
        self._problems = frozenset(problems)

    def _enrolled(self, topology: Topology, uids: Mapping[Address, str]) -> Topology:
        """With those pods that are whose the control plane says; the port of another is nobody's."""
        before = self._enrolment.waiting.keys()
        pods = self._enrolment.take(topology.pods, uids, self._loop.time(), told=self.connected())
        for address in self._enrolment.waiting.keys() - before:
            log.warning("address at another link", address=str(address), until="its pod is named anew")
        self.outcome.moved = self._enrolment.left_s
        nobodys = topology.bridges.keys() & (set(topology.pods.values()) - set(pods.values()))
        return replace(topology, pods=pods, strangers=topology.strangers | nobodys)

    def _show(self) -> None:
        """Of a moment at which nobody is at work."""
        self.view = View.of(self.outcome, self.attachments, self.maps)

    def _written(self) -> frozenset[str]:
        """The types of which the kernel has now what it takes; services that could not be tried are tried again."""
        return frozenset(types(self.config.node)) - ({SERVICE} if "services" in self.outcome.faults else set())

    def _refused(self) -> dict[Key, str]:
        maps, faults, node = self.maps, self.outcome.faults, self.config.node
        failed = {(SERVICE, group.rpartition("/")[0]): why for group, why in sorted(maps.services.failed.items())}
        if why := maps.workloads.failed or faults.get("workloads"):
            failed[WORKLOADS_TYPE, node] = why
        if why := faults.get("announcements"):
            failed[ANNOUNCEMENTS, node] = f"announcements: {why}: announce fewer addresses, or on fewer links"
        return failed

    async def _persist(self, taken: Accepted) -> None:
        """Before the kernel: a daemon after us must not know less than the kernel has."""
        if self._unwritten:
            self._unwritten = False
            await self._tried("state", lambda: accepted.write(self.config.accepted, self.config.node, taken))
            self._unwritten |= "state" in self.outcome.faults

    async def _fill(self, taken: Accepted) -> None:
        topology = self.outcome.topology
        await self._tried("settings", lambda: self._set(topology))
        await self._tried("routes", self._route)
        await self._tried("node addresses", lambda: self.maps.addresses.reconcile(node_entries(topology)))
        await self._tried("link addresses", lambda: self.maps.link_addresses.reconcile(link_entries(topology)))
        if WORKLOADS_TYPE in taken.heard:
            await self._tried("workloads", lambda: self.maps.workloads.reconcile(workload_entries(topology)))
        if SERVICE in taken.heard:
            await self._fill_services(taken)

    async def _may_attach(self, taken: Accepted) -> bool:
        """Not in the place of programs that find all that they need, before ours do."""
        outcome = self.outcome
        if not self.attachments.follows:
            return True
        if not {SERVICE, WORKLOADS_TYPE} <= taken.heard or not _FILLING.isdisjoint(outcome.faults):
            return False
        if outcome.captures and not await asyncio.to_thread(self.maps.listeners):
            self.envoy.restart_once()  # what it listens at is known to the other layout alone
            return False
        return True

    async def _attach(self, *, prune: bool) -> None:
        topology = self.outcome.topology
        wanted = roles(topology)
        await self._tried("sysctls", self._change)
        await self._tried("attachments", lambda: self.attachments.reconcile(wanted))
        if prune:
            await self._tried("prune", self.attachments.prune)

    async def _fill_services(self, taken: Accepted) -> None:
        outcome, maps = self.outcome, self.maps.services
        addresses = tuple(outcome.topology.addresses)
        services = taken.services()
        outcome.exposed = exposed(services)
        outcome.services = self._intercept.services(services, outcome.active, addresses, _uids(taken).keys())
        groups = outcome.services.groups
        await self._tried("services", lambda: maps.reconcile(groups))
        await asyncio.sleep(GRACE_S)
        await self._tried("backends", maps.retire)
        await self._tried("processes", lambda: self._look_for_processes(taken))

    async def _announce(self, taken: Accepted) -> None:
        """Also without a change: another node may have taken an address that a server says is this one's."""
        if ANNOUNCEMENTS not in taken.heard:
            return
        devices = outward(self.outcome.topology)
        own = dict(macs(devices))
        desired = answers(taken.announcements(), devices, own)
        # Before anything is announced: what one link says is heard by another one on the same segment.
        await self._tried("MACs", lambda: self.maps.macs.reconcile(mac_entries(own)))
        told_now = taken.told_announcements and self.connected()
        await self._tried("announcements", lambda: self.announcing.reconcile(desired, told_now=told_now))
        self.announcing.wake()

    def _set(self, topology: Topology) -> None:
        wanted = Settings(
            node4=primary(topology, 4),
            node6=primary(topology, 6),
            envoy_cgroup=self.attachments.envoy_cgroup_id,
            host_netns=netns_cookie(),
        )
        if self.maps.settings.get(ONLY) != wanted:
            self.maps.settings.put(ONLY, wanted)

    def _route(self) -> None:
        """The rules and routes, when they are not there, or the node's addresses have changed."""
        four, six = primary(self.outcome.topology, 4), primary(self.outcome.topology, 6)
        assert not isinstance(four, IPv6Address)
        assert not isinstance(six, IPv4Address)
        had = self._installed
        if had is not None and (had.node4, had.node6) == (four, six):
            lacks = routing.lacks(had)
            if not lacks:
                return
            log.warning("changed by somebody else", what=lacks)
            self.repairs += 1
        self._installed = routing.install(four, six, self.sysctls.write)

    def _change(self) -> None:
        """The kernel's settings that what we do depends on."""
        self.sysctls.keep()
        loosened = [link for link in inlets(self.outcome.topology) if routing.loosen(link, self.sysctls.write)]
        if loosened:
            log.info("rp_filter loosened", links=loosened)
        if reserve_ports(self.sysctls.write):
            log.info("ports reserved", first=NODE_PORT_FIRST, last=NODE_PORT_FIRST + NODE_PORTS - 1)
        if migrate_requests(self.sysctls.write):
            log.info("connections migrate between listeners of one port")

    async def _tried(self, what: str, act: Callable[[], object]) -> None:
        """Act in a thread, so that nobody waits for the kernel who need not.

        One fault keeps nothing else from being done; it is told once, and for as long as it lasts.
        """
        faults = self.outcome.faults
        try:
            await asyncio.to_thread(act)
        except (OSError, RuntimeError, NetlinkError) as error:
            if faults.get(what) != str(error):
                log.warning("not done", what=what, error=str(error)[:1024])
            faults[what] = str(error)[:1024]
        else:
            faults.pop(what, None)


def _uids(taken: Accepted) -> dict[Address, str]:
    """Of the pods of this node, by address."""
    return {address: pod.uid for pod in taken.pods() for address in pod.addresses}


def netns_cookie() -> int:
    """Of the network namespace that we are in, as programs have it; 0 where the kernel does not tell (before 5.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            return int(struct.unpack("Q", any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
        except OSError:
            return 0
