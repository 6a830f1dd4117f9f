"""What Envoys said, as sources of the graph. Must not know streams or clocks."""

from __future__ import annotations

from typing import Any, NamedTuple

from xds_server.graph import Graph, Index, Source
from xds_server.model.delivery import Acceptance, Delay, DeliveryRef, Node, NodeRef, Rejection
from xds_server.model.resource import ResourceKey


class Words(NamedTuple):
    """One kind of what is said of resources, and the ways to what one Envoy, or what anyone says of one resource."""

    source: Source[DeliveryRef, Any]
    by_envoy: Index[NodeRef, DeliveryRef, Any]
    by_resource: Index[ResourceKey, DeliveryRef, Any]

    @classmethod
    def declare(cls, graph: Graph, name: str) -> Words:
        source: Source[DeliveryRef, Any] = graph.source(name)
        by_envoy: Index[NodeRef, DeliveryRef, Any] = source.index(lambda said: [said.ref.envoy])
        return cls(source, by_envoy, source.index(lambda said: [said.ref.resource]))

    def forget_envoy(self, envoy: NodeRef) -> bool:
        """Whether there was anything."""
        return self._delete(tuple(self.by_envoy.keys(envoy)))

    def forget_resource(self, key: ResourceKey) -> bool:
        """Whether there was anything."""
        return self._delete(tuple(self.by_resource.keys(key)))

    def _delete(self, refs: tuple[DeliveryRef, ...]) -> bool:
        for ref in refs:
            self.source.delete(ref)
        return bool(refs)


class Feedback(NamedTuple):
    """Which Envoys there are, and what each said."""

    nodes: Source[NodeRef, Node]
    accepted: Words
    rejected: Words
    delayed: Words

    @classmethod
    def declare(cls, graph: Graph) -> Feedback:
        return cls(
            graph.source("nodes"),
            Words.declare(graph, "acceptances"),
            Words.declare(graph, "rejections"),
            Words.declare(graph, "delays"),
        )

    @property
    def acceptances(self) -> Source[DeliveryRef, Acceptance]:
        return self.accepted.source

    @property
    def rejections(self) -> Source[DeliveryRef, Rejection]:
        return self.rejected.source

    @property
    def delays(self) -> Source[DeliveryRef, Delay]:
        return self.delayed.source

    @property
    def words(self) -> tuple[Words, Words, Words]:
        return self.accepted, self.rejected, self.delayed

    def heard(self, envoy: NodeRef) -> bool:
        """It has said something that still counts."""
        return any(words.by_envoy.count(envoy) for words in self.words)

    def forget_envoy(self, envoy: NodeRef) -> None:
        self.nodes.delete(envoy)
        for words in self.words:
            words.forget_envoy(envoy)

    def forget_resource(self, key: ResourceKey) -> bool:
        """Whether anyone had said anything of it."""
        return sum(words.forget_resource(key) for words in self.words) > 0
