"""Random worlds of Kubernetes objects, and random histories of one.

An object is the manifest that somebody would apply: what is generated can be printed, kept and read again.
Names, hosts and ports are few, so that objects meet; values are odd, and yet such as an API server lets through.
A loose world is one whose API server has older definitions, with few rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import yaml

from tests.worlds import backends, gateway_api, ingress
from tests.worlds.draw import Draw, Manifest
from tests.worlds.mending import mended
from xds_server.model.refs import ObjectRef

World = dict[ObjectRef, Manifest]
Step = tuple[ObjectRef, Manifest | None]
"""An object that is put, or deleted."""

_CLUSTER_SCOPED: Final = frozenset({"Namespace", "GatewayClass", "IngressClass"})

# Fewest and most of each kind in a new world; some of them share a name, and the later one counts.
_COUNTS: Final[dict[Callable[[Draw], Manifest], tuple[int, int]]] = {
    gateway_api.gateway_class: (0, 1),
    gateway_api.gateway: (1, 3),
    gateway_api.http_route: (1, 5),
    gateway_api.grpc_route: (0, 2),
    gateway_api.tls_route: (0, 2),
    gateway_api.reference_grant: (0, 3),
    ingress.ingress: (0, 4),
    ingress.ingress_class: (0, 1),
    backends.service: (5, 10),
    backends.endpoint_slice: (2, 7),
    backends.secret: (2, 6),
    backends.config_map: (0, 2),
    backends.namespace: (0, 3),
}
_MAKERS: Final = tuple(_COUNTS)
_MAKER_BY_KIND: Final = {
    "GatewayClass": gateway_api.gateway_class,
    "Gateway": gateway_api.gateway,
    "HTTPRoute": gateway_api.http_route,
    "GRPCRoute": gateway_api.grpc_route,
    "TLSRoute": gateway_api.tls_route,
    "ReferenceGrant": gateway_api.reference_grant,
    "Ingress": ingress.ingress,
    "IngressClass": ingress.ingress_class,
    "Service": backends.service,
    "EndpointSlice": backends.endpoint_slice,
    "Secret": backends.secret,
    "ConfigMap": backends.config_map,
    "Namespace": backends.namespace,
}


def world(seed: int, *, loose: bool = False) -> World:
    draw = Draw(Random(seed), loose)
    made = (_made(draw, make) for make, counts in _COUNTS.items() for _ in range(draw.random.randint(*counts)))
    return {ref(manifest): manifest for manifest in made}


def history(seed: int, steps: int, *, loose: bool = False) -> Iterator[list[Step]]:
    """A world, then commits of one to three changes each: objects added, replaced, edited in part, deleted."""
    now = world(seed, loose=loose)
    yield list(now.items())
    draw = Draw(Random(~seed), loose)
    for _ in range(steps):
        batch = [_step(draw, now) for _ in range(draw.random.randint(1, 3))]
        yield batch


def _made(draw: Draw, make: Callable[[Draw], Manifest]) -> Manifest:
    while True:
        manifest = make(draw)
        valid = manifest if draw.loose else mended(manifest)
        if valid is not None:
            return valid


def _step(draw: Draw, now: World) -> Step:
    action = draw.one(("add", "replace", "edit", "delete")) if now else "add"
    if action == "add":
        manifest = _made(draw, draw.one(_MAKERS))
        now[ref(manifest)] = manifest
        return ref(manifest), manifest
    chosen = draw.one(sorted(now))
    if action == "delete":
        del now[chosen]
        return chosen, None
    fresh = _made(draw, _MAKER_BY_KIND[chosen.kind])
    fresh["metadata"] |= {"name": chosen.name} | ({"namespace": chosen.namespace} if chosen.namespace else {})
    if action == "edit":
        fresh = _edited(draw, now[chosen], fresh)
    now[chosen] = fresh
    return chosen, fresh


def _edited(draw: Draw, old: Manifest, fresh: Manifest) -> Manifest:
    """The old object with some fields of a fresh one, if that is a valid object."""
    fields = [key for key in fresh if key not in {"apiVersion", "kind", "metadata", "spec"}]
    spec = {**old.get("spec", {}), **{k: v for k, v in fresh.get("spec", {}).items() if draw.chance(0.5)}}
    edited = {**old, **{key: fresh[key] for key in fields if draw.chance(0.5)}} | ({"spec": spec} if spec else {})
    if draw.chance(0.3):
        edited["metadata"] = fresh["metadata"]
    return (edited if draw.loose else mended(edited)) or fresh


def ref(manifest: Manifest) -> ObjectRef:
    metadata = manifest["metadata"]
    namespace = "" if manifest["kind"] in _CLUSTER_SCOPED else metadata.get("namespace", "default")
    return ObjectRef(manifest["kind"], namespace, metadata["name"])


def text(manifests: World) -> str:
    """The world as a file that `tidegate check -f` reads."""
    return yaml.safe_dump_all((manifests[name] for name in sorted(manifests)), sort_keys=False, allow_unicode=True)
