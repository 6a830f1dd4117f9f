"""Objects that are left to somebody else, or to nobody: a class that nobody has, or parameters that nobody names.

Of a class that another controller has is told only with manifests alone: in a cluster others are the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import NamedTuple

from xds_server.graph import Collection, Fetch, Graph
from xds_server.ingestion import gateway, ingress_class
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.gateway import Gateway, GatewayClass
from xds_server.objects.networking import Ingress
from xds_server.objects.tidegate import GatewayParameters

Remarks = Collection[tuple[ObjectRef, str], Remark]


class _Classes(NamedTuple):
    """The declared classes of a kind: `known` gives controllers by names."""

    kind: str
    known: Callable[[Fetch], dict[str, str]]


def _gateway_classes(sources: Sources) -> _Classes:
    every = sources.gateway_classes.index(lambda _: (True,))
    return _Classes("GatewayClass", lambda f: {c.metadata.name: c.spec.controller_name for c in f.by(every, True)})


def _ingress_classes(sources: Sources) -> _Classes:
    every = sources.ingress_classes.index(lambda _: (True,))
    return _Classes("IngressClass", lambda f: {c.metadata.name: c.spec.controller for c in f.by(every, True)})


def declare_unowned(graph: Graph, sources: Sources, settings: Settings) -> Remarks:
    """At most one remark for each Gateway and Ingress whose class is not ours, and for unused GatewayParameters."""
    defaults = ingress_class.default_classes(sources)
    gateway_classes, ingress_classes = _gateway_classes(sources), _ingress_classes(sources)
    alone = bool(settings.undeclared_classes)

    def of_gateway(fetch: Fetch, ref: ObjectRef, found: Gateway) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        name = found.spec.gateway_class_name
        if not gateway.is_ours(fetch, sources, settings, name):
            yield from _left(settings, ref, "spec.gatewayClassName", name, gateway_classes, fetch)

    def of_ingress(fetch: Fetch, ref: ObjectRef, found: Ingress) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        if ingress_class.claim(fetch, sources, defaults, settings, found).ours:
            return
        annotated, named = found.metadata.annotations.get(ingress_class.LEGACY, ""), found.spec.ingress_class_name
        field = "spec.ingressClassName"
        if not annotated and not named:
            if alone:
                text = "it names no class, and no default class is ours, so nothing is served; name one of ours: "
                yield _remark(ref, field, text + " or ".join(_ours(settings, ingress_classes.known(fetch))))
        elif alone or not annotated:  # what the older annotation names needs no object in a cluster
            yield from _left(settings, ref, field, annotated or named or "", ingress_classes, fetch)

    by_class = sources.gateway_classes.index(_parameters_of_class)
    by_gateway = sources.gateways.index(_parameters_of_gateway)

    def of_parameters(
        fetch: Fetch, ref: ObjectRef, _: GatewayParameters
    ) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        if not fetch.by(by_class, ref) and not fetch.by(by_gateway, ref):
            text = "no GatewayClass and no Gateway names it, so it changes nothing: "
            way_out = "name it in spec.parametersRef of a class, or in spec.infrastructure.parametersRef of a Gateway"
            yield _remark(ref, "", text + way_out)

    return graph.union(
        "unowned",
        graph.derive("unused_parameters", sources.parameters, of_parameters),
        graph.derive("unowned_gateways", sources.gateways, of_gateway),
        graph.derive("unowned_ingresses", sources.ingresses, of_ingress),
    )


def _parameters_of_class(found: GatewayClass) -> tuple[ObjectRef, ...]:
    ref = found.spec.parameters_ref
    return (ObjectRef(ref.kind, ref.namespace, ref.name),) if ref else ()


def _parameters_of_gateway(found: Gateway) -> tuple[ObjectRef, ...]:
    ref = found.spec.infrastructure.parameters_ref if found.spec.infrastructure else None
    return (ObjectRef(ref.kind, found.metadata.namespace, ref.name),) if ref else ()


def _left(
    settings: Settings, ref: ObjectRef, field: str, name: str, classes: _Classes, fetch: Fetch
) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
    known = classes.known(fetch)
    ours = _ours(settings, known)
    if name in known:
        if settings.undeclared_classes:
            text = (
                f"{classes.kind} {name} names the controller {known[name][:253]!r}, so this is left to that; "
                f"ours name {settings.controller_name!r}"
            )
            yield _remark(ref, field, text)
        return
    near = get_close_matches(name, {*ours, *known}, n=1, cutoff=0.7)
    way_out = f"did you mean {near[0]}?" if near else f"ours: {', '.join(ours) or 'none'}"
    text = f"there is no {classes.kind} {name[:253]!r}, so nothing is served; {way_out}"
    yield _remark(ref, field, text, unresolved=True)


def _ours(settings: Settings, known: dict[str, str]) -> list[str]:
    """The names of our classes, those that need no object first; a declared one decides for itself."""
    undeclared = [name for name in settings.undeclared_classes if name not in known]
    return undeclared + sorted(name for name, by in known.items() if by == settings.controller_name)[:8]


def _remark(
    ref: ObjectRef, field: str, message: str, *, unresolved: bool = False
) -> tuple[tuple[ObjectRef, str], Remark]:
    return (ref, field), Remark(ref, field, message, unresolved)
