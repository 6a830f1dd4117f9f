"""Secrets and ConfigMaps that objects of ours refer to and may use: what a source that reads on demand has to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xds_server.graph import Collection, Fetch, Graph, Group
from xds_server.ingestion.ingress_plan import IngressPlan
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.listener import Listener
from xds_server.model.refs import ListenerRef, ObjectRef

Wants = Collection[tuple[Any, ObjectRef], ObjectRef]
"""By who refers and to what; the value is the latter."""


def unread(fetch: Fetch, sources: Sources, settings: Settings, ref: ObjectRef) -> bool:
    """Whether nobody has looked for an object yet, so that it is not known to be missing."""
    if not settings.reads_on_demand or fetch.get(sources.of(ref.kind), ref) is not None:
        return False
    return fetch.get(sources.absent, ref) is None


def wants_of_ingress(_: Fetch, ref: ObjectRef, plan: IngressPlan) -> Iterator[tuple[tuple[Any, ObjectRef], ObjectRef]]:
    for target in dict.fromkeys((*(secret for tls in plan.tls for secret in tls.secrets), *config_maps(plan))):
        yield (ref, target), target


def config_maps(plan: IngressPlan) -> Iterator[ObjectRef]:
    """Of the Ingress's own namespace; a reference to another is refused (S1)."""
    namespace, _, name = (plan.annotations.custom_headers or "").partition("/")
    if namespace == plan.ref.namespace:
        yield ObjectRef("ConfigMap", namespace, name)


def wanted_objects(
    graph: Graph, wants: Wants, listeners: Collection[ListenerRef, Listener]
) -> Collection[ObjectRef, ObjectRef]:
    """Each object once, whoever refers to it.

    What a listener presents is among them: while a Gateway waits for a Secret that it refers to now, its listener stays
    as it was, with the one before.
    """

    def presented(
        _: Fetch, listener: ListenerRef, value: Listener
    ) -> Iterator[tuple[tuple[Any, ObjectRef], ObjectRef]]:
        for target in value.tls.certificates if value.tls else ():
            yield (listener, target), target

    def once(_: Fetch, target: ObjectRef, __: Group[ObjectRef]) -> Iterator[tuple[ObjectRef, ObjectRef]]:
        yield target, target

    edges = graph.union("wanted", wants, graph.derive("wanted/presented", listeners, presented))
    return graph.derive("wanted_objects", edges.index(lambda target: (target,)), once)
