"""Minimal resources for what does not depend on their content: clusters of about 180 bytes on the wire."""

from __future__ import annotations

from collections.abc import Mapping

from xds_server.model.resource import CLUSTER, Resource, resource
from xds_server.xds import wire


def clusters(count: int) -> list[Resource]:
    return [cluster(number) for number in range(count)]


def cluster(number: int, revision: int = 0) -> Resource:
    """A cluster is a name and something that changes; no Envoy reads it."""
    name = f"bench/app-{number:05}/80/http"
    return resource(CLUSTER, name, wire.field(1, name.encode()) + wire.field(28, f"{revision:06}".encode()))


def response(resources: list[Resource], nonce: str) -> bytes:
    elements = [wire.delta_element(each.type_url, each.name, each.version, each.body) for each in resources]
    return wire.delta_response(CLUSTER, nonce, elements, ())


def versions(resources: list[Resource]) -> Mapping[str, str]:
    return {each.name: each.version for each in resources}
