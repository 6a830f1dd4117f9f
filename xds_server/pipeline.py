"""The whole graph in one place: sources, ingestion, translation, status."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from xds_server.graph import Changes, Collection, Graph
from xds_server.ingestion.collections import Ingested, ingest, ingest_routes
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model import resource
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import Resource, ResourceKey
from xds_server.status.collections import DesiredStatus, statuses
from xds_server.status.feedback import Feedback
from xds_server.translation import names
from xds_server.translation.collections import translate, translate_backends
from xds_server.translation.settings import TranslationSettings


def owner(key: ResourceKey) -> ObjectRef | None:
    """The frontend that a listener, route configuration, virtual host or service of the daemon's belongs to."""
    match key.type_url:
        case resource.LISTENER if key.name not in names.CAPTURE:
            return names.parse_listener(key.name).frontend
        case resource.ROUTE_CONFIGURATION:
            return names.parse_route_configuration(key.name)[0].frontend
        case resource.VIRTUAL_HOST:
            return names.parse_virtual_host(key.name).table.frontend
        case resource.INTERCEPTED:
            return None if names.is_of_service(key.name) else names.parse_intercepted(key.name).frontend
    return None


class Pipeline(NamedTuple):
    """Objects go in by `put`, Envoys' answers by `feedback`; a commit brings `resources` and `statuses` up to date.

    First of all resources it brings `backends` up to date, which all others lead to.
    """

    graph: Graph
    sources: Sources
    feedback: Feedback
    ingested: Ingested
    backends: Collection[ResourceKey, Resource]
    resources: Collection[ResourceKey, Resource]
    statuses: Collection[ObjectRef, DesiredStatus]

    @classmethod
    def declare(cls, settings: Settings, translation: TranslationSettings) -> Pipeline:
        graph = Graph()
        sources = Sources.declare(graph)
        routed = ingest_routes(graph, sources, settings)
        backends = translate_backends(graph, routed.clusters, routed.endpoints, translation)
        ingested = ingest(graph, sources, settings, routed)
        resources, over_budget = translate(graph, ingested, backends, translation)
        feedback = Feedback.declare(graph)
        return cls(
            graph,
            sources,
            feedback,
            ingested,
            backends,
            resources,
            statuses(
                graph,
                feedback,
                ingested.verdicts,
                ingested.frontends,
                resources,
                over_budget,
                owner,
            ),
        )

    def put(self, ref: ObjectRef, value: Any | None) -> None:
        """Put an object into the source of its kind; None deletes it."""
        source = self.sources.of(ref.kind)
        if value is None:
            source.delete(ref)
        else:
            source.put(ref, value)

    def apply(self, objects: Iterable[tuple[ObjectRef, Any | None]]) -> Changes:
        """Put objects and commit."""
        for ref, value in objects:
            self.put(ref, value)
        return self.graph.commit()

    def serves(self, key: ResourceKey) -> bool:
        """Whether a resource is served, or is about to be: clusters are, before all that there is has been made."""
        return key in self.resources or key in self.backends

    def published(self, changes: Changes) -> dict[ResourceKey, Resource | None]:
        """The resources that a commit changed, with their new content; None for those that are gone."""
        return {key: self.resources.get(key) for key in changes.get(self.resources.name, ())}
