"""Objects that are left to somebody else, said aloud where nobody else is there: a class that nobody has is a typo.

With a cluster as the source other controllers are the rule, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator

from xds_server.graph import Collection, Fetch, Graph
from xds_server.ingestion import gateway, ingress_class
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.gateway import Gateway
from xds_server.objects.networking import Ingress

Remarks = Collection[tuple[ObjectRef, str], Remark]


def declare_unowned(graph: Graph, sources: Sources, settings: Settings) -> Remarks:
    """One remark for each Gateway and Ingress whose class is not ours; none where classes must be declared."""
    defaults = ingress_class.default_classes(sources)
    ours = " and ".join(settings.undeclared_classes)

    def of_gateway(fetch: Fetch, ref: ObjectRef, found: Gateway) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        name = found.spec.gateway_class_name
        if ours and not gateway.is_ours(fetch, sources, settings, name):
            yield _remark(
                ref, "spec.gatewayClassName", f"class {name!r} is not ours, so nothing is served; ours: {ours}"
            )

    def of_ingress(fetch: Fetch, ref: ObjectRef, found: Ingress) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        if not ours or ingress_class.claim(fetch, sources, defaults, settings, found).ours:
            return
        name = found.metadata.annotations.get(ingress_class.LEGACY) or found.spec.ingress_class_name
        text = f"class {name!r} is not ours" if name else "it names no class, and no default class is ours"
        yield _remark(ref, "spec.ingressClassName", f"{text}, so nothing is served; ours: {ours}")

    return graph.union(
        "unowned",
        graph.derive("unowned_gateways", sources.gateways, of_gateway),
        graph.derive("unowned_ingresses", sources.ingresses, of_ingress),
    )


def _remark(ref: ObjectRef, field: str, message: str) -> tuple[tuple[ObjectRef, str], Remark]:
    return (ref, field), Remark(ref, field, message)
