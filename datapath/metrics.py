"""Prometheus metrics of the daemon; labels are words of ours, never names of users' objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from datapath.ageing import STATES
from datapath.client import Client
from datapath.kernel.layout import Direction, Reason, Tally
from datapath.node import Node

Verdicts = Mapping[tuple[Reason, Direction], Tally]


class _Read(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def registry(
    node: Node, client: Client, verdicts: Callable[[], Verdicts], capacities: Mapping[str, int]
) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(_Read(lambda: _verdicts(verdicts())))
    found.register(_Read(lambda: _state(node, client, capacities)))
    return found


def _verdicts(verdicts: Verdicts) -> Iterator[Metric]:
    labels = ["reason", "direction"]
    packets = CounterMetricFamily(
        "tidegate_datapath_packets", "Packets and calls by what became of them.", labels=labels
    )
    octets = CounterMetricFamily("tidegate_datapath_bytes", "Bytes of those packets.", labels=labels)
    for (reason, direction), tally in verdicts.items():
        words = [reason.name.lower(), direction.name.lower()]
        packets.add_metric(words, tally.packets)
        octets.add_metric(words, tally.bytes)
    yield packets
    yield octets


def _state(node: Node, client: Client, capacities: Mapping[str, int]) -> Iterator[Metric]:
    view = node.view
    entries = GaugeMetricFamily("tidegate_datapath_map_entries", "Entries of a map.", labels=["map"])
    desired = GaugeMetricFamily("tidegate_datapath_map_desired", "Entries that it is to have.", labels=["map"])
    capacity = GaugeMetricFamily("tidegate_datapath_map_capacity", "Entries that it can have.", labels=["map"])
    for name, size in view.sizes.items():
        entries.add_metric([name], size.actual)
        desired.add_metric([name], size.desired)
        capacity.add_metric([name], capacities.get(name, 0))
    remembered = {"connections": node.ageing.states.total(), "translations": node.ageing.translations}
    for name, actual in remembered.items():
        entries.add_metric([name], actual)
        capacity.add_metric([name], capacities.get(name, 0))
    yield from (entries, desired, capacity)
    yield from _connections(node)
    single: dict[str, tuple[str, float]] = {
        "attached": ("Programs that are attached.", len(view.attached)),
        "missing": ("Programs that are to be attached and are not.", len(view.missing)),
        "failed_services": ("Services that could not be written as they are to be.", view.failed_services),
        "refused_resources": ("Resources of the control plane that cannot be used.", len(node.discovery.refused)),
        "stream_connected": ("1 while there is a stream to the control plane.", client.connected),
        "envoy_ready": (
            "1 while the node's Envoy serves.",
            node.reach.serves,
        ),
    }
    for name, (text, value) in single.items():
        yield GaugeMetricFamily(f"tidegate_datapath_{name}", text, value=value)
    counted: dict[str, tuple[str, float]] = {
        "reconcile_errors": ("Times that the kernel could not be brought up to date whole.", node.errors),
        "repairs": (
            "Programs that somebody else had detached, and maps that somebody else had changed.",
            view.reattached + node.repairs,
        ),
        "envoy_starts": ("Starts of Envoy by this daemon.", node.envoy.state.starts),
        "lone_translations": ("Halves of connections that were taken away since the other was gone.", node.ageing.lone),
        "envoy_hung": ("Envoys that this daemon has ended because they did not answer.", node.envoy.state.hung),
    }
    for name, (text, value) in counted.items():
        yield CounterMetricFamily(f"tidegate_datapath_{name}", text, value=value)


def _connections(node: Node) -> Iterator[Metric]:
    now = GaugeMetricFamily(
        "tidegate_datapath_connections", "Connections whose packets are translated, at the last look.", labels=["state"]
    )
    aged = CounterMetricFamily(
        "tidegate_datapath_aged_connections", "Such connections that were silent for too long.", labels=["state"]
    )
    for state in STATES:
        now.add_metric([state], node.ageing.states[state])
        aged.add_metric([state], node.ageing.aged[state])
    yield from (now, aged)
