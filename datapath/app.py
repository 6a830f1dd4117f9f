"""The composition root: constructs everything and starts the tasks; a stop leaves the kernel and Envoy as they are."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from aiohttp import web
from prometheus_client import generate_latest

from datapath import accepted, control, probe, status
from datapath.attachments import Attachments
from datapath.client import CannotDial, Client, dial
from datapath.config import (
    MOST_WORKERS,
    Config,
    ConfigError,
    bootstrap_options,
    client_tls,
    envoy_binary,
    host_port,
)
from datapath.control import Answer
from datapath.discovery import Discovery
from datapath.envoy import Envoy
from datapath.flows import Flows, record
from datapath.instances import Wanted
from datapath.kernel import verdicts
from datapath.kernel.events import Events
from datapath.kernel.layout import (
    BACKENDS,
    CONNECTIONS,
    LINK_ADDRESSES,
    LISTENERS_PER_FAMILY,
    NODE_ADDRESSES,
    SERVICES,
    TRANSLATIONS,
    WORKLOADS,
    MapSpec,
)
from datapath.kernel.maps import opened
from datapath.kernel.programs import Pins
from datapath.kernel.sysctls import Sysctls
from datapath.lock import Taken, owned
from datapath.metrics import registry
from datapath.node import Node
from datapath.tables import Maps
from xds_server.proxy.bootstrap import bootstrap, certificate_sources
from xds_server.proxy.process import private_file

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REMOVED_S: Final = 60.0
"""Envoy is told that it has no listener for a service only after the kernel leads nobody there any more."""
_TAKEN: Final = (
    "another daemon works in this network namespace, and has nothing in {}: correct `bpffs`, "
    "or run `tidegate node cleanup --force` with that daemon's configuration, or with this one if there is no other"
)

log = structlog.get_logger("node")


async def run(config: Config) -> None:
    """Run until cancelled, or until somebody asks for a stop.

    :raises ConfigError: something that the configuration names cannot be used.
    :raises Refused: the kernel lacks something.
    :raises Taken: another daemon runs.
    """
    private_state(config.state)
    if lacks := probe.lacks(config):
        raise ConfigError("; ".join(lacks))
    wanted = wanted_envoy(config)
    with owned(config.pins, config.lock), metrics_socket(config) as scraped:
        envoy_can_be_scraped(config)
        if probe.is_taken(config.pins):
            raise Taken(_TAKEN.format(config.pins))
        before, sysctls = discovery(config), Sysctls(config.sysctls, follows=probe.was_here(config.pins))
        for warning in probe.warnings():
            log.warning(warning)
        write_sources(config)
        await _run(config, wanted, before, sysctls, scraped)


async def _run(
    config: Config, wanted: Wanted, before: Discovery, sysctls: Sysctls, scraped: socket.socket | None
) -> None:
    pins = Pins(config.bpffs)
    attachments = Attachments(pins, config.cgroup, config.envoy_cgroup)
    attachments.load()
    async with AsyncExitStack() as stack:
        stack.callback(attachments.close)
        maps = Maps(pins.maps, leaving_s=config.envoy.drain_seconds + _REMOVED_S)
        stack.callback(maps.close)
        attachments.attach_listen()
        node = Node(config, before, Envoy(wanted, config.instances), attachments, maps, sysctls)
        client = Client(node.discovery, lambda: dialled(config), node.accept)
        node.connected, node.settled = (lambda: client.connected), client.settled
        node.reach.tell = client.tell
        daemon = Daemon(node, client, Flows(stack.enter_context(Events(pins.maps))), pins.maps)
        await stack.enter_async_context(work_at_hand())
        await stack.enter_async_context(control.serving(config.control, daemon.asks()))
        if scraped is not None:
            await stack.enter_async_context(daemon.metrics(scraped))
        log.info("running", node=config.node, server=config.server, pins=str(pins.folder))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [
            tasks.create_task(shell)
            for shell in (
                node.envoy.run(),
                node.run(),
                node.watch(),
                node.repair(),
                node.ageing.run(),
                node.announcing.run(),
                client.run(),
            )
        ]
        await daemon.stopped.wait()
        for task in running:
            task.cancel()


@asynccontextmanager
async def work_at_hand() -> AsyncIterator[None]:
    """Ends when no thread is at work: each goes on when who awaits it is cancelled, and uses what is closed next."""
    try:
        yield
    finally:
        await asyncio.get_running_loop().shutdown_default_executor()


class Daemon:
    """What can be asked of it while it runs."""

    def __init__(self, node: Node, client: Client, flows: Flows, pinned: Path) -> None:
        self.node, self.client, self.stopped = node, client, asyncio.Event()
        self._flows, self._pinned, self._capacities = flows, pinned, capacities(pinned)
        node.ageing.tell = flows.tell

    def asks(self) -> dict[str, control.Ask]:
        return {"status": self._status, "flows": self._listen, "restart-envoy": self._restart, "stop": self._stop}

    def report(self) -> status.Report:
        return status.report(self.node, self.client, asyncio.get_running_loop().time(), self._capacities)

    async def _status(self, _: Answer) -> AsyncGenerator[Answer, None]:
        yield self.report()

    async def _listen(self, _: Answer) -> AsyncGenerator[Answer, None]:
        links = self.node.view.topology.links
        async with aclosing(self._flows.listen()) as events:
            async for event in events:
                yield record(event, lambda ifindex: links.get(ifindex, str(ifindex)))

    async def _restart(self, _: Answer) -> AsyncGenerator[Answer, None]:
        envoy = self.node.envoy
        started = await envoy.restarted() if envoy.state.current else None
        fault = "" if started else envoy.state.waits or envoy.state.fault or "none has been started yet"
        yield {"pid": started.pid if started else None, "fault": fault, "serves": envoy.serves}

    async def _stop(self, _: Answer) -> AsyncGenerator[Answer, None]:
        yield {"stops": self.node.config.node}
        self.stopped.set()

    @asynccontextmanager
    async def metrics(self, listening: socket.socket) -> AsyncIterator[None]:
        """Serve /metrics, /healthz and /readyz."""
        registered = registry(self.node, self.client, lambda: verdicts.read(self._pinned), self._capacities)

        async def exposition(_: web.Request) -> web.Response:
            return web.Response(body=generate_latest(registered), headers={"content-type": CONTENT_TYPE})

        async def health(_: web.Request) -> web.Response:
            why = status.unhealthy(self.node)
            return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

        async def readiness(_: web.Request) -> web.Response:
            why = status.unready(self.node)
            return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

        application = web.Application()
        application.add_routes(
            [web.get("/metrics", exposition), web.get("/healthz", health), web.get("/readyz", readiness)]
        )
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield
        finally:
            await runner.cleanup()


@contextmanager
def metrics_socket(config: Config) -> Iterator[socket.socket | None]:
    """Where an address for metrics is configured, it is had before anything is done to the kernel.

    :raises ConfigError: it cannot be had.
    """
    address = host_port(config.metrics)
    if address is None:
        yield None
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listening = socket.create_server(address, family=family)
    except OSError as error:
        why = str(error.strerror).partition(" (while attempting")[0]
        raise ConfigError(f"metrics: {config.metrics}: {why}: {_elsewhere(address, error)}") from None
    with listening:
        yield listening


def envoy_can_be_scraped(config: Config) -> None:
    """Whether it can listen there, beside another one of ours: it would end at once, and be started again and again.

    :raises ConfigError: it cannot.
    """
    address = host_port(config.envoy.metrics)
    if address is None:
        return
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if tried.family == socket.AF_INET6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            tried.bind(address)
        except OSError as error:
            why = f"{error.strerror}: {_elsewhere(address, error)}"
            raise ConfigError(f"envoy.metrics: {config.envoy.metrics}: {why}") from None


def _elsewhere(address: tuple[str, int], error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return "name one that this node has"
    return f"name another address, or end who has it (`ss -ltnp sport = :{address[1]}`)"


def discovery(config: Config) -> Discovery:
    """With what was accepted before.

    :raises ConfigError: that was said to a node of another name: under this one, its pods would be nobody's.
    """
    try:
        return Discovery(config.node, accepted.read(config.accepted, config.node))
    except accepted.OtherNode as error:
        way = "correct it, or if the node was renamed, run `tidegate node cleanup` first, which ends the other"
        raise ConfigError(f"node: {config.node!r}, but {error}: {way}") from None
    except accepted.UnusableFile as error:
        log.warning("what was accepted before cannot be used", reason=str(error)[:1024])
        return Discovery(config.node)


def wanted_envoy(config: Config) -> Wanted:
    """:raises ConfigError: there is no Envoy, or it could not use what it would be told."""
    directory = config.state / "envoy"
    binary, options = envoy_binary(config), bootstrap_options(config, directory / "admin.sock")
    workers = config.envoy.concurrency or min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    arguments = ("--log-level", "warning", "--concurrency", str(workers))
    return Wanted(
        binary,
        bootstrap(options),
        arguments,
        directory,
        config.envoy_cgroup,
        config.envoy.drain_seconds,
        silence_s=config.envoy.silence_seconds,
        workers=workers,
        room=LISTENERS_PER_FAMILY,  # each worker has a listener of its own
    )


def dialled(config: Config) -> grpc.aio.Channel:
    """:raises CannotDial: a file of `tls` is not there, or cannot be read."""
    if (tls := config.tls) is not None:
        files = {"certificate": tls.certificate, "privateKey": tls.private_key, "authority": tls.authority}
        for field, path in files.items():
            if not path.exists():
                raise CannotDial(f"tls.{field}: there is no {path}: name a file that is there, or have it made")
    return dial(config.server, client_tls(config))


def write_sources(config: Config) -> None:
    """Tell Envoy where its certificate is, and to look when it changes."""
    tls = client_tls(config)
    for path, text in (certificate_sources(tls) if tls else {}).items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            private_file(path, text)


def capacities(pinned: Path) -> dict[str, int]:
    found = {}
    addresses = (WORKLOADS, NODE_ADDRESSES, LINK_ADDRESSES)
    specs: tuple[MapSpec[Any, Any], ...] = (SERVICES, BACKENDS, *addresses, CONNECTIONS, TRANSLATIONS)
    for spec in specs:
        with opened(spec, pinned) as each:
            found[spec.name] = each.capacity
    return found


def private_state(path: Path) -> None:
    """Make the state directory, which only its owner may enter.

    :raises ConfigError: it cannot be made, or is somebody else's.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"state: {path} is somebody else's, or a link: name a directory of your own")
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"state: {path}: {error.strerror}: name a directory that can be made") from None
