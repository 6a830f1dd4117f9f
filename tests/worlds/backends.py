"""Random Services, EndpointSlices, Secrets, ConfigMaps and Namespaces."""

from __future__ import annotations

from typing import Final

from tests.worlds import pools
from tests.worlds.certificates import GOOD, key_pairs
from tests.worlds.draw import Draw, Manifest

SERVICES: Final = ("web", "api", "a-b")
SECRETS: Final = ("cert", "cert-2", "a-b")
HEADERS: Final = "headers"

_NAME_BY_PORT: Final = {80: "http", 8080: "web", 443: "https", 65535: "last"}
_PORT_NAMES: Final = ("http", "web", "")
_SERVICE_PORTS: Final = (80, 8080)
_APP_PROTOCOLS: Final = (
    "http",
    "https",
    "kubernetes.io/h2c",
    "kubernetes.io/ws",
    "kubernetes.io/wss",
    "grpc",
    "example.com/odd",
    "",
)


def namespace_of(draw: Draw) -> str:
    """Mostly one namespace, so that references find what they name."""
    return draw.usual(pools.NAMESPACES[:1], pools.NAMESPACES, 0.4)


def name_of(draw: Draw) -> str:
    odd: tuple[str, ...] = (*pools.NAMES, *(pools.DOTTED_NAMES if draw.chance(0.1) else ()))
    return draw.usual(pools.NAMES[:1], odd, 0.6)


def metadata(draw: Draw, name: str, namespace: str = "", **more: object) -> Manifest:
    found: Manifest = {"name": name}
    if namespace:
        found["namespace"] = namespace
    found |= draw.fields(
        creationTimestamp=(0.5, lambda: f"2026-01-0{draw.random.randint(1, 3)}T00:00:00Z"),
        generation=(0.5, lambda: draw.random.randint(1, 3)),
    )
    return found | {key: value for key, value in more.items() if value}


def service(draw: Draw) -> Manifest:
    numbers = draw.usual((_SERVICE_PORTS,), ((80,), (8080, 443), (80, 8080, 443, 65535)), 0.2)
    ports = [_service_port(draw, number, named=len(numbers) > 1) for number in numbers]
    spec: Manifest = {"ports": ports}
    if draw.chance(0.15):
        spec |= draw.one(
            (
                {"clusterIP": "None"},
                {"clusterIP": "10.96.0.1"},
                {"type": "NodePort"},
                {"type": "LoadBalancer"},
                {"type": "ExternalName", "externalName": "backend.example.com"},
                {"ports": []},
            )
        )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(draw, draw.one(SERVICES), namespace_of(draw)),
        "spec": spec,
    }


def _service_port(draw: Draw, number: int, *, named: bool) -> Manifest:
    return {"port": number} | draw.fields(
        name=(0.97 if named else 0.3, lambda: _NAME_BY_PORT[number]),
        protocol=(0.2, lambda: draw.usual(("TCP",), ("UDP", "SCTP"), 0.15)),
        appProtocol=(0.3, lambda: draw.one(_APP_PROTOCOLS)),
        targetPort=(0.2, lambda: draw.one((8080, "http"))),
    )


def endpoint_slice(draw: Draw) -> Manifest:
    of = draw.one(SERVICES)
    address_type = draw.usual(("IPv4",), ("IPv6", "FQDN"))
    labels = {"kubernetes.io/service-name": of} if draw.chance(0.95) else {}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(draw, f"{of}-{draw.random.randint(1, 2)}", namespace_of(draw), labels=labels),
        "addressType": address_type,
        "endpoints": draw.many(0, 4, lambda: _endpoint(draw, address_type)),
        "ports": draw.many(0, 3, lambda: _endpoint_port(draw)),
    }


def _endpoint(draw: Draw, address_type: str) -> Manifest:
    usual = pools.ADDRESSES_BY_TYPE[address_type]
    return {
        "addresses": draw.many(0 if draw.chance(0.1) else 1, 3, lambda: draw.usual(usual, pools.ODD_ADDRESSES))
    } | draw.fields(
        conditions=(
            0.5,
            lambda: draw.fields(
                ready=(0.7, lambda: draw.chance(0.7)),
                serving=(0.4, lambda: draw.chance(0.7)),
                terminating=(0.3, lambda: draw.chance(0.4)),
            ),
        ),
        zone=(0.3, lambda: draw.one(("a", "b", "zone/ü" if draw.loose else "c"))),
        nodeName=(0.1, lambda: "node"),
    )


def _endpoint_port(draw: Draw) -> Manifest:
    return draw.fields(
        name=(0.8, lambda: draw.one(_PORT_NAMES)),
        port=(0.95, lambda: draw.usual((8080, 9080), (1, 443, 65535))),
        protocol=(0.2, lambda: draw.usual(("TCP",), ("UDP",), 0.3)),
    )


def secret(draw: Draw) -> Manifest:
    pairs = key_pairs()
    odd = tuple(name for name in pairs if name not in GOOD)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(draw, draw.one(SECRETS), namespace_of(draw)),
        "type": draw.usual(("kubernetes.io/tls",), ("Opaque",), 0.1),
        "data": dict(pairs[draw.usual(GOOD, odd, 0.3)]),
    }


def config_map(draw: Draw) -> Manifest:
    names, texts = draw_header_names(draw), draw_texts(draw)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(draw, HEADERS, namespace_of(draw)),
        "data": {draw.one(names): draw.one(texts) for _ in range(draw.random.randint(0, 3))},
    }


def draw_header_names(draw: Draw) -> tuple[str, ...]:
    return (*pools.HEADER_NAMES, *pools.ODD_HEADER_NAMES, *(pools.LOOSE_HEADER_NAMES if draw.loose else ()))


def draw_texts(draw: Draw) -> tuple[str, ...]:
    return (*pools.TEXTS, *pools.ODD_TEXTS, *(pools.LOOSE_TEXTS if draw.loose else ()))


def namespace(draw: Draw) -> Manifest:
    name = draw.one(pools.NAMESPACES)
    labels = {"kubernetes.io/metadata.name": name} | draw.fields(team=(0.5, lambda: draw.one(("a", "b"))))
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(draw, name, labels=labels)}
