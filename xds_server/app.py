"""The composition root: constructs the parts of one process, runs them together, stops them in order."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from xds_server import admin
from xds_server.announcing import Announcing
from xds_server.cluster import cluster_pipeline
from xds_server.collector import for_good, let_stay
from xds_server.config import Cluster, Config, ConfigError
from xds_server.controller import Controller
from xds_server.embedded import embedded_pipeline
from xds_server.files.directory import Directory, Scan
from xds_server.graph import Changes
from xds_server.ingestion.sources import Settings
from xds_server.kube.client import Api, CredentialsError, credentials
from xds_server.kube.contact import Contact
from xds_server.kube.generated_writer import GeneratedWriter
from xds_server.kube.kinds import read_kinds
from xds_server.kube.lease import Elector, identity
from xds_server.kube.reflector import Link
from xds_server.kube.source import KubernetesSource
from xds_server.kube.stats import SourceStats
from xds_server.kube.status_writer import StatusWriter
from xds_server.metrics import (
    Metrics,
    collection_sizes,
    generated_counters,
    relay_counters,
    source_counters,
    status_counters,
    stream_counters,
)
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import ANNOUNCEMENTS
from xds_server.relay.address import advertised, checked
from xds_server.relay.deciding import Deciding
from xds_server.relay.listening import Listening
from xds_server.relay.telling import Files, Telling
from xds_server.told import Told
from xds_server.xds.credentials import InsecureLoopback, Listen, ListenError, MutualTls, UnixSocket
from xds_server.xds.server import ServerSettings, Services, serving
from xds_server.xds.streams import Streams

log = structlog.get_logger(__name__)


class Source(Protocol):
    """Where objects come from: it puts them into the controller."""

    async def run(self, loaded: Callable[[], None]) -> None:
        """Put all that there is, call `loaded`, and follow, until cancelled."""

    def awaited(self) -> str:
        """What keeps it from having loaded, for anybody to read; "" once it has."""

    def objects(self) -> list[str]:
        """The objects that keep it from having loaded, some of them, for this machine alone."""

    def remark(self) -> str:
        """What readiness says although it is no reason not to be ready."""


class ControlPlane:
    """Everything but Envoy: objects in, ADS out.

    `scan` is what the manifests said last.
    `observers` are called after each commit, and, with nothing changed, after each scan that changed no object.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.metrics = config, Metrics()
        self.pipeline = cluster_pipeline(config) if config.cluster else embedded_pipeline(config)
        self.observers: list[Callable[[Changes], None]] = []
        self._raised: list[Callable[[Changes], None]] = []
        self.streams = Streams()
        self.controller = Controller(self.pipeline, self.metrics, self.streams.publish, self._committed)
        self.controller.begin = self.streams.begin
        self.streams.on_connected, self.streams.on_subscribed = self.controller.connected, self.controller.subscribed
        self.streams.on_accepted, self.streams.on_rejected = self.controller.accepted, self.controller.rejected
        self.streams.on_gone, self.controller.uses = self.controller.gone, self.streams.uses
        self.announcing = _announcing(self.controller, self.streams, config)
        if self.announcing is not None:
            self.streams.on_daemon, self.streams.on_daemon_gone = self.announcing.connected, self.announcing.gone
            self.streams.on_unserved = self.announcing.unserved
        self.services: Services = {}
        self.address = ""  # of the ADS server, once it listens
        self.manifests = Manifests(config.manifests, self._take)
        self.source: Source = self.manifests
        self.scan = Scan({}, (), ())
        self.loaded = asyncio.Event()
        self.stopping = False
        self.lacks = ""  # what the process needs besides, and has not: readiness says it
        self.told = Told(self.streams, self.pipeline.resources, self._awaited, config.xds_tls)
        self.metrics.watch(collection_sizes(self._sizes))
        self.metrics.watch(stream_counters(self.streams))

    def load(self) -> None:
        """Read the manifests as they are now, and commit them."""
        with for_good():
            self.manifests.load()
            self.controller.commit()
        self._loaded()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen; streams are answered once the source has loaded."""
        async with AsyncExitStack() as stack:
            probes = self.probes()
            bound = await stack.enter_async_context(admin.serve(self.config.admin, self.metrics, probes))
            await stack.enter_async_context(admin.serve_metrics(self.config.metrics, self.metrics, probes))
            settings = ServerSettings(max_connection_age_s=self.config.max_connection_age_s)
            try:
                server = serving(self.streams, listen(self.config), settings, self.services)
                self.address = await stack.enter_async_context(server)
            except ListenError as error:
                raise ConfigError(f"--xds-listen: {error}") from None
            log.info("serving", xds=self.address, admin=bound or "off", resources=len(self.pipeline.resources))
            try:
                yield
            finally:
                self.stop()

    def stop(self) -> None:
        """Say that it is about to end, so that nobody new is sent here; harmless when repeated."""
        if not self.stopping:
            self.stopping = True
            log.info("stopping")

    async def run(self) -> None:
        """Commit what changes once the source has loaded, until cancelled."""
        await self.loaded.wait()
        await self.controller.run()

    async def announce(self) -> None:
        """Decide which node announces an address, once the source has loaded, until cancelled."""
        await self.loaded.wait()
        if self.announcing is not None:
            await self.announcing.run()

    async def watch(self) -> None:
        """Load the source, unless that was done, and follow it, until cancelled."""
        let_stay()
        await self.source.run(self._all_there)

    def _all_there(self) -> None:
        """What the source has put is all that there is."""
        if not self.loaded.is_set():
            self.controller.commit()
            self._loaded()

    def _loaded(self) -> None:
        self.loaded.set()
        self.streams.open()

    def _committed(self, changes: Changes) -> None:
        """Tell the observers; one that raises harms neither the others nor the next commit, and is logged once."""
        if self.announcing is not None and self.pipeline.ingested.announceable.name in changes:
            self.announcing.commit()
        if not self.loaded.is_set():
            let_stay()
        for observe in self.observers:
            try:
                observe(changes)
            except Exception:  # what shows a commit must not end it
                if observe not in self._raised:
                    self._raised.append(observe)
                    log.exception("observer failed", observer=repr(observe)[:256])

    def _take(self, scan: Scan) -> None:
        known = set(self.scan.problems)
        self.scan = scan
        self.metrics.problems.set(len(scan.problems))
        for problem in scan.problems:
            if problem not in known:
                log.warning("manifest problem", problem=problem.text)
        self.controller.apply(scan.changes)
        if self.loaded.is_set() and not scan.changes:
            self._committed({})

    def _sizes(self) -> dict[str, int]:
        return {
            collection.name: len(collection)
            for collection in (self.pipeline.graph.faults, *self.pipeline.graph.collections)
        }

    def _keys(self, name: str) -> list[str] | None:
        found = next(
            (c for c in (self.pipeline.graph.faults, *self.pipeline.graph.collections) if c.name == name), None
        )
        return None if found is None else [str(key) for key in found]

    def probes(self) -> admin.Probes:
        return admin.Probes(
            ready=self._awaited,
            remark=self.source.remark,
            objects=self.source.objects,
            replica=self.told.replica,
            collections=self._sizes,
            collection=self._keys,
            streams=self._debug,
        )

    def _awaited(self) -> str:
        if self.stopping:
            return "stopping"
        return self.source.awaited() or ("" if self.loaded.is_set() else "waiting for the first commit") or self.lacks

    def _debug(self) -> list[dict[str, Any]]:
        return self.streams.debug()


class Manifests:
    """A directory of them as a source; `load` may come before `run`."""

    def __init__(self, paths: Iterable[Path], take: Callable[[Scan], None]) -> None:
        self.directory, self._take, self._loaded = Directory(paths), take, False

    def load(self) -> None:
        self._take(self.directory.load())
        self._loaded = True

    async def run(self, loaded: Callable[[], None]) -> None:
        if not self._loaded:
            self.load()
        loaded()
        async for scan in self.directory.watch():
            self._take(scan)

    def awaited(self) -> str:
        return "" if self._loaded else "waiting for the manifests"

    def objects(self) -> list[str]:
        return []

    def remark(self) -> str:
        return ""


class Statuses(NamedTuple):
    """Who writes them, and when."""

    elector: Elector
    writer: StatusWriter
    generated: GeneratedWriter
    telling: Telling | None = None
    """What the Envoys here say, to who writes; without an address or certificates of our own nobody is told."""
    deciding: Deciding | None = None
    """What is asked of who leads, where nodes announce addresses."""

    async def run(self, loaded: asyncio.Event) -> None:
        """Lead whenever possible, and write while leading, until cancelled.

        Nobody leads who has not loaded: he would write that nothing is served.
        The leadership is given back once nothing is written any more.
        """
        await loaded.wait()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.elector.run())
                tasks.create_task(self.writer.run())
                tasks.create_task(self.generated.run())
                if self.telling is not None:
                    tasks.create_task(self.telling.run())
                if self.deciding is not None:
                    tasks.create_task(self.deciding.run())
        finally:
            await self.elector.release()


@asynccontextmanager
async def reading(plane: ControlPlane, cluster: Cluster) -> AsyncIterator[Statuses]:
    """Let a control plane, before anything of it runs, take its objects from an API server, and write their status."""
    try:
        api = Api(await credentials(cluster.kubeconfig, cluster.context or None))
    except CredentialsError as error:
        raise ConfigError(f"--kubernetes: {error}") from None
    try:
        yield attached(plane, Link(api, Contact(), SourceStats()), cluster)
    finally:
        await api.close()


def attached(plane: ControlPlane, link: Link, cluster: Cluster) -> Statuses:
    """Let an API server be the source of a control plane, and hear what became of its objects."""
    wanted = plane.pipeline.ingested.wanted_objects
    kinds = read_kinds(cilium_pools=cluster.cilium_pools, datapath=plane.config.datapath)
    source = KubernetesSource(link, plane.controller, lambda: wanted, kinds)

    def committed(changes: Changes) -> None:
        if wanted.name in changes:
            source.refer()

    plane.source = source
    plane.observers.append(committed)
    plane.told.ages, plane.told.undecodable = source.ages, source.undecodable
    plane.metrics.watch(source_counters(link.stats, source.ages, source.sizes, source.undecodable))
    return status_writing(plane, link, source, cluster)


def status_writing(plane: ControlPlane, link: Link, source: KubernetesSource, cluster: Cluster) -> Statuses:
    """The part of a control plane that tells the authors of objects what became of them."""
    desired, (api, clock) = plane.pipeline.statuses, (link.api, link.clock)
    elector = Elector(api, cluster.namespace, identity(cluster.pod), clock=clock)
    writer = StatusWriter(api, elector, desired, source.observed, Settings().controller_name, clock=clock)
    generated = GeneratedWriter(api, elector, plane.pipeline.ingested.generated, source.observed, clock=clock)
    own = plane.pipeline.ingested.generated.name

    def gained() -> None:
        writer.gained()
        generated.gained()

    def committed(changes: Changes) -> None:
        writer.commit(changes.get(desired.name, ()))
        generated.commit(changes.get(own, ()))

    def observed(ref: ObjectRef) -> None:
        writer.observe(ref)
        generated.observe(ref)

    elector.on_gained, source.on_observed = gained, observed
    generated.on_refused = plane.controller.refused
    plane.metrics.watch(generated_counters(lambda: generated.refused, lambda: generated.pending))
    plane.observers.append(committed)
    if plane.announcing is not None:
        plane.announcing.leads = lambda: elector.leads
    plane.told.leads, plane.told.waiting_statuses = lambda: elector.leads, lambda: writer.pending
    plane.metrics.watch(status_counters(writer.stats, lambda: elector.leads, lambda: writer.pending))
    return Statuses(elector, writer, generated, *relaying(plane, elector, cluster.ip))


def relaying(plane: ControlPlane, elector: Elector, ip: str) -> tuple[Telling | None, Deciding | None]:
    """The parts by which whoever leads knows the Envoys and daemons of all replicas; None where none can be dialled."""
    tls = plane.config.xds_tls
    if not ip or tls is None:
        return None, None
    controller, pipeline, files = plane.controller, plane.pipeline, Files(tls.certificate, tls.key, tls.client_ca)
    telling = Telling(controller, files)
    deciding = None
    if plane.announcing is not None:
        deciding = Deciding(plane.announcing, files, lambda: telling.address, plane.config.announcement_lease_s)
    listening = Listening(controller, plane.streams.number)
    listening.decides = plane.announcing
    said = {words.source.name for words in pipeline.feedback.words}

    def committed(changes: Changes) -> None:
        telling.touch(changes.get(pipeline.feedback.nodes.name, ()))
        for name in said & changes.keys():
            telling.touch({ref.envoy for ref in changes[name]})
        published = changes.get(pipeline.resources.name, ())
        listening.published(key for key in published if key in pipeline.resources)

    plane.observers.append(committed)
    plane.services = listening.handlers()
    plane.metrics.watch(relay_counters(telling, listening))
    controller.on_moved = lambda envoy: telling.touch([envoy])
    elector.address = lambda: advertised(ip, plane.address)
    elector.on_leader = lambda address: telling.follow(checked(address))
    return telling, deciding


def _announcing(controller: Controller, streams: Streams, config: Config) -> Announcing | None:
    if not config.datapath:
        return None
    return Announcing(controller, config.announcement_lease_s, partial(streams.withhold, ANNOUNCEMENTS))


def listen(config: Config) -> Listen:
    """Where the ADS server listens.

    :raises ConfigError: the address is none, or TCP without what makes it safe.
    """
    if not config.xds_listen:
        return UnixSocket(config.state / "xds.sock")
    if config.xds_listen.startswith("unix:"):
        return UnixSocket(Path(config.xds_listen.removeprefix("unix:")))
    host, _, port = config.xds_listen.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--xds-listen {config.xds_listen}: give it as unix:PATH or HOST:PORT")
    host = host.strip("[]")
    if config.xds_tls:
        files = config.xds_tls
        return MutualTls(host, int(port), files.certificate, files.key, files.client_ca, config.trust_domain)
    if config.insecure_loopback:
        return InsecureLoopback(host, int(port))
    raise ConfigError(
        f"--xds-listen {config.xds_listen}: TCP needs --xds-tls-cert, --xds-tls-key and --xds-tls-client-ca; "
        "on a loopback address, --insecure-loopback does without"
    )


def private_directory(path: Path, flag: str = "--state") -> Path:
    """Make a directory that only its owner may enter.

    :raises ConfigError: it cannot be made, or it or the one above belongs to somebody else, who could replace it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, above = path.lstat(), path.parent.stat()
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{flag} {path}: {error.strerror}; name a directory that can be made") from None
    sticky = above.st_uid == 0 and above.st_mode & stat.S_ISVTX
    if path.is_symlink() or found.st_uid != os.getuid() or not (above.st_uid in {0, os.getuid()} or sticky):
        raise ConfigError(f"{flag} {path}: it, or the one above, is somebody else's; name a directory of your own")
    return path
