"""From names of Envoy's resources back to the Kubernetes objects that they were made of; None for other names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from xds_server.model.refs import ClusterRef, PortRef, RouteRef
from xds_server.translation import names

_T = TypeVar("_T")

_OWN_ANSWERS: Final = {
    names.FALLBACK: "no path of its objects takes the request, so its fallback answers",
    names.FORCE_HTTPS: "its objects want HTTPS",
    names.UNMATCHED: "none of the routes for the clients of this namespace takes the request",
    names.MISDIRECTED: "the host belongs to another listener, and so to another connection",
}


def _parsed(parse: Callable[[str], _T], name: str) -> _T | None:
    try:
        return parse(name)
    except ValueError:
        return None


def port(listener: str) -> PortRef | None:
    return _parsed(names.parse_listener, listener)


def intercepted(service: str) -> PortRef | None:
    return _parsed(names.parse_intercepted, service)


def parent(listener: str) -> str:
    """The Gateway or Ingress of an Envoy listener, as KIND/NAMESPACE/NAME."""
    found = port(listener)
    return str(found.frontend) if found else ""


def own_answer(route_name: str) -> str:
    """What a route that no object wrote is for; empty for others."""
    return _OWN_ANSWERS.get(route_name, "")


def route(name: str) -> RouteRef | None:
    return _parsed(names.parse_route, name)


def cluster(name: str) -> ClusterRef | None:
    return _parsed(names.parse_cluster, name)
