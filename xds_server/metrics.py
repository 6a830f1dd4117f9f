"""Prometheus metrics of the control plane; labels are kinds, types and variants, never names of users' objects."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xds_server.kube.stats import SourceStats
from xds_server.kube.status_stats import StatusStats
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import ResourceKey
from xds_server.xds.streams import Streams

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def short(type_url: str) -> str:
    """The last word of a type URL: "Cluster"."""
    return type_url.rpartition(".")[2]


class Metrics:
    """One registry; what other parts keep is read when it is scraped, by the collectors that `watch` adds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.commit_seconds = Histogram(
            "tidegate_commit_duration_seconds",
            "Time to bring the graph up to date.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.object_changes = Counter(
            "tidegate_object_changes", "Objects put or deleted, by kind.", ["kind"], registry=self.registry
        )
        self.resource_changes = Counter(
            "tidegate_resource_changes",
            "Envoy resources that commits changed, by type.",
            ["type"],
            registry=self.registry,
        )
        self.faults = Counter(
            "tidegate_transformation_faults", "Transformations that raised; each is a defect.", registry=self.registry
        )
        self.problems = Gauge(
            "tidegate_manifest_problems", "Manifests, or parts of them, that cannot be used.", registry=self.registry
        )
        self.envoy_starts = Counter("tidegate_envoy_starts", "Starts of the local Envoy.", registry=self.registry)

    def objects_changed(self, refs: Iterable[ObjectRef]) -> None:
        for kind, number in Tally(ref.kind for ref in refs).items():
            self.object_changes.labels(kind).inc(number)

    def resources_changed(self, keys: Iterable[ResourceKey]) -> None:
        for type_url, number in Tally(key.type_url for key in keys).items():
            self.resource_changes.labels(short(type_url)).inc(number)

    def watch(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Add metrics that are read from elsewhere at each scrape."""
        self.registry.register(_Read(read))

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


class _Read(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def collection_sizes(sizes: Callable[[], dict[str, int]]) -> Callable[[], Iterator[Metric]]:
    """The size of each collection of the graph, by its name."""

    def read() -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "tidegate_collection_size", "Entries of a collection of the graph.", labels=["collection"]
        )
        for name, size in sizes().items():
            family.add_metric([name], size)
        yield family

    return read


def status_counters(
    stats: StatusStats, leads: Callable[[], bool], pending: Callable[[], int]
) -> Callable[[], Iterator[Metric]]:
    """What was written into statuses, by kind and result, and whether this replica is the one that writes."""

    def read() -> Iterator[Metric]:
        writes = CounterMetricFamily(
            "tidegate_status_writes",
            "Writes of statuses: written, conflict, gone, refused or failed.",
            labels=["kind", "result"],
        )
        for labels, count in sorted(stats.writes.items()):
            writes.add_metric(labels, count)
        yield writes
        yield GaugeMetricFamily("tidegate_status_pending", "Objects whose status is to be looked at.", value=pending())
        yield GaugeMetricFamily("tidegate_leader", "1 where this replica writes statuses.", value=leads())

    return read


def generated_counters(
    refused: Callable[[], Iterable[ObjectRef]], pending: Callable[[], int]
) -> Callable[[], Iterator[Metric]]:
    """What of the generated objects is not as it should be, as far as this replica writes them."""

    def read() -> Iterator[Metric]:
        by_kind = Tally(ref.kind for ref in refused())
        text = "Generated objects that are not as they should be: refused, or of somebody else."
        found = GaugeMetricFamily("tidegate_generated_refused", text, labels=["kind"])
        for kind in ("EndpointSlice", "Service"):
            found.add_metric([kind], by_kind[kind])
        yield found
        yield GaugeMetricFamily("tidegate_generated_pending", "Generated objects to be looked at.", value=pending())

    return read


class Told(Protocol):
    @property
    def told(self) -> int: ...


class ToldOf(Told, Protocol):
    @property
    def envoys(self) -> int: ...


def relay_counters(telling: Told, listening: ToldOf) -> Callable[[], Iterator[Metric]]:
    """What replicas tell each other of their Envoys."""

    def read() -> Iterator[Metric]:
        news = CounterMetricFamily(
            "tidegate_relay_news", "News of Envoys between replicas, sent to the leader or received.", labels=["way"]
        )
        news.add_metric(["sent"], telling.told)
        news.add_metric(["received"], listening.told)
        yield news
        remote = "Envoys of other replicas that this one has been told of."
        yield GaugeMetricFamily("tidegate_relay_remote_envoys", remote, value=listening.envoys)

    return read


def handshake_counter(failed: Callable[[], int]) -> Callable[[], Iterator[Metric]]:
    """Connections that came to nothing."""

    def read() -> Iterator[Metric]:
        text = "TLS handshakes that failed: of peers without a certificate that is trusted, or that do not trust ours."
        yield CounterMetricFamily("tidegate_xds_failed_handshakes", text, value=failed())

    return read


def stream_counters(streams: Streams) -> Callable[[], Iterator[Metric]]:
    """What the ADS streams counted, by type or variant."""
    by_type = (
        ("tidegate_xds_pushes", "Responses written.", "pushes"),
        ("tidegate_xds_sent_bytes", "Bytes of responses written.", "sent_bytes"),
        ("tidegate_xds_acks", "Responses accepted.", "acks"),
        ("tidegate_xds_nacks", "Responses refused.", "nacks"),
        ("tidegate_xds_rejected_resources", "Versions of resources found to be refused.", "rejected"),
        ("tidegate_xds_stale_requests", "Requests that answered an old response.", "stale"),
    )
    single = (
        ("tidegate_xds_ignored_requests", "Requests for types that are not served.", "ignored"),
        ("tidegate_xds_refused_streams", "Streams ended because a request made no sense.", "refused"),
        ("tidegate_xds_displaced_streams", "Streams ended because their node opened too many more.", "displaced"),
        ("tidegate_xds_unauthenticated_calls", "Calls of peers that are nobody here.", "unauthenticated"),
        ("tidegate_xds_forbidden_calls", "Calls to what is not for the peer, other nodes' ids too.", "forbidden"),
        (
            "tidegate_xds_unserved_secrets",
            "Secrets named by nodes that do not serve them, and what is another node's.",
            "unserved",
        ),
        (
            "tidegate_xds_gates_opened",
            "Resources sent although what they need was not accepted in time.",
            "gates_opened",
        ),
    )

    def read() -> Iterator[Metric]:
        for name, text, attribute in by_type:
            yield _counted(CounterMetricFamily(name, text, labels=["type"]), getattr(streams.stats, attribute))
        for name, text, attribute in single:
            yield CounterMetricFamily(name, text, value=getattr(streams.stats, attribute))
        open_ = GaugeMetricFamily("tidegate_xds_streams", "Open streams, by variant.", labels=["variant"])
        yield _counted(open_, streams.stats.streams)
        parked = GaugeMetricFamily(
            "tidegate_xds_parked_resources", "Resources that an Envoy refuses now.", labels=["type"]
        )
        yield _counted(parked, streams.parked())

    return read


def source_counters(
    stats: SourceStats,
    ages: Callable[[], Mapping[str, float]],
    sizes: Callable[[], Mapping[str, int]],
    undecodable: Callable[[], Mapping[str, int]],
) -> Callable[[], Iterator[Metric]]:
    """What the API server was asked and said, by kind."""
    counters = (
        ("tidegate_source_lists", "Lists begun.", stats.lists),
        ("tidegate_source_watches", "Watches begun.", stats.watches),
        ("tidegate_source_events", "Events and bookmarks received.", stats.events),
        ("tidegate_source_stale_events", "Events that were older than what was held.", stats.stale_events),
    )
    gauges: tuple[tuple[str, str, Callable[[], Mapping[str, float]]], ...] = (
        ("tidegate_source_age_seconds", "Since the API server last said something.", ages),
        ("tidegate_source_objects", "Objects held.", sizes),
        ("tidegate_source_undecodable_objects", "Objects whose newest version cannot be read.", undecodable),
    )

    def read() -> Iterator[Metric]:
        for name, text, counts in counters:
            yield _counted(CounterMetricFamily(name, text, labels=["kind"]), counts)
        for name, text, now in gauges:
            yield _counted(GaugeMetricFamily(name, text, labels=["kind"]), now())
        errors = CounterMetricFamily("tidegate_source_errors", "Attempts that failed.", labels=["kind", "reason"])
        for labels, count in sorted(stats.errors.items()):
            errors.add_metric(labels, count)
        yield errors

    return read


def _counted(family: CounterMetricFamily | GaugeMetricFamily, counts: Mapping[str, float]) -> Metric:
    for label, count in sorted(counts.items()):
        family.add_metric([short(label)], count)
    return family
