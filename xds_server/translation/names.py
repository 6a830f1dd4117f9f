"""Every name that Envoy ever gets from us, and the way back.

Names are joined by "/", which no Kubernetes name holds; a part that does hold one is escaped, so that
different things never share a name (S2) whatever the objects say. Nothing here depends on a position that an
unrelated edit could move, except the rule and match of a route, which only `explain` reads (X42).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, cast, get_args
from urllib.parse import unquote

from xds_server.model.interception import ServiceRef
from xds_server.model.refs import ClusterRef, HostRef, Kept, ObjectRef, PortRef, Protocol, RouteRef, TableRef

_KINDS: Final = {
    kind.lower(): kind
    for kind in ("Gateway", "Ingress", "SharedIngress", "Service", "HTTPRoute", "GRPCRoute", "TLSRoute")
}
_PROTOCOLS: Final = frozenset(get_args(Protocol))
_VHDS: Final = "vhds"
_KEPT: Final = frozenset(get_args(Kept)) - {""}

# Routes that no object wrote.
FALLBACK: Final = "fallback"
FORCE_HTTPS: Final = "force-https"
MISDIRECTED: Final = "misdirected"
UNMATCHED: Final = "unmatched"
OWN_ANSWERS: Final = frozenset({FALLBACK, FORCE_HTTPS, MISDIRECTED, UNMATCHED})

CAPTURE_IPV4: Final = "capture/ipv4"
CAPTURE_IPV6: Final = "capture/ipv6"
CAPTURE_CLUSTER: Final = "capture/original_dst"
CAPTURE: Final = frozenset({CAPTURE_IPV4, CAPTURE_IPV6})
"""The listeners that nobody's frontend is; no name of one has two parts."""

CLIENT: Final = "tidegate.client"
"""The filter state that has the address a connection of a Service's client came from."""

NOWHERE: Final = "nowhere"
"""A cluster that never exists (the name of a real one has four parts or more): connections to it are closed."""


def port(ref: PortRef) -> str:
    return _joined(*_object(ref.frontend), str(ref.port))


def listener(ref: PortRef, address: str) -> str:
    return f"{port(ref)}/{_escaped(address)}"


@lru_cache(maxsize=1024)  # each virtual host asks for the name of its table
def route_configuration(table: TableRef, *, vhds: bool = False) -> str:
    """A plaintext table is named as its port; an HTTPS table adds its hostname.

    One for clients whose address is kept adds their family, one served by VHDS says so.
    """
    more = (_hostname(table.hostname), table.kept, _VHDS if vhds else "")
    return "/".join(filter(None, (port(PortRef(table.frontend, table.port)), *more)))


def virtual_host(ref: HostRef, *, vhds: bool = False) -> str:
    """VHDS wants the name of the route configuration first. What is for some clients becomes part of that for all."""
    return f"{route_configuration(ref.table, vhds=vhds)}/{_hostname(ref.hostname)}"


def route(ref: RouteRef, share: int | None = None) -> str:
    """`share` is the position of a backend whose share of the requests has a route of its own.

    Whether the client's address is kept is no part of it: to people it is the same route.
    """
    return _joined(*_object(ref.source), str(ref.rule), str(ref.match), *(() if share is None else (str(share),)))


def cluster(ref: ClusterRef) -> str:
    """Also the name of its endpoints: an identity of the backend, never of a rule that uses it (X42)."""
    return _joined(ref.namespace, ref.service, str(ref.port), ref.protocol, *filter(None, (ref.kept,)))


def secret(ref: ObjectRef) -> str:
    return _joined("secret", ref.namespace, ref.name)


def intercepted(ref: ServiceRef) -> str:
    """Of the daemon's, which knows Services by namespace and name, and all else by kind too."""
    name = _joined(ref.object.namespace, ref.object.name, str(ref.port)) if ref.object.kind == "Service" else ""
    return f"{name or port(ref.port_ref)}/{ref.protocol}"


def is_of_service(intercepted: str) -> bool:
    """Whether it is a Service's, and not a frontend's."""
    return intercepted.count("/") == 3


def parse_intercepted(name: str) -> PortRef:
    """The port of a Service or a frontend."""
    of_port, _, _ = name.rpartition("/")
    return parse_port(f"service/{of_port}" if is_of_service(name) else of_port)


def parse_port(name: str) -> PortRef:
    kind, namespace, object_name, number = _parts(name, 4, 4)
    return PortRef(_parsed_object(name, kind, namespace, object_name), _number(name, number))


def parse_listener(name: str) -> PortRef:
    """The port that a listener serves, at whichever address."""
    return parse_port(name.rpartition("/")[0])


def parse_route_configuration(name: str) -> tuple[TableRef, bool]:
    """The table, and whether it is served by VHDS."""
    raw = name.split("/")
    served, rest = parse_port("/".join(raw[:4])), raw[4:]
    vhds = rest[-1:] == [_VHDS]
    rest = rest[:-1] if vhds else rest
    kept = rest[-1] if rest and rest[-1] in _KEPT else ""
    hostname = rest[:-1] if kept else rest
    if len(hostname) > 1:
        raise ValueError(f"{name!r} is no route configuration of ours")
    host = unquote(hostname[0]) if hostname else ""
    return TableRef(served.frontend, served.port, host, cast("Kept", kept)), vhds


def parse_virtual_host(name: str) -> HostRef:
    table, _, hostname = name.rpartition("/")
    return HostRef(parse_route_configuration(table)[0], unquote(hostname))


def parse_route(name: str) -> RouteRef:
    """The match of a rule that a route was made for; a share's route belongs to the match that it shares."""
    kind, namespace, object_name, rule, match, *_ = _parts(name, 5, 6)
    return RouteRef(_parsed_object(name, kind, namespace, object_name), _number(name, rule), _number(name, match))


def parse_share(name: str) -> int | None:
    """The position of the one backend that a route serves; None where it serves all of the rule."""
    parts = _parts(name, 5, 6)
    return _number(name, parts[5]) if len(parts) == 6 else None


def parse_cluster(name: str) -> ClusterRef:
    namespace, service, port, protocol, *kept = _parts(name, 4, 5)
    if protocol not in _PROTOCOLS or not _KEPT.issuperset(kept):
        raise ValueError(f"{name!r} is no cluster of ours: it ends in none of {sorted(_PROTOCOLS)}")
    return ClusterRef(namespace, service, _number(name, port), cast("Protocol", protocol), *cast("list[Kept]", kept))


def parse_secret(name: str) -> ObjectRef:
    prefix, namespace, object_name = _parts(name, 3, 3)
    if prefix != "secret":
        raise ValueError(f"{name!r} is no secret of ours")
    return ObjectRef("Secret", namespace, object_name)


def _object(ref: ObjectRef) -> tuple[str, str, str]:
    kind = ref.kind.lower()
    if _KINDS.get(kind) != ref.kind:
        raise ValueError(f"{ref}: objects of kind {ref.kind!r} have no names in Envoy")
    return kind, ref.namespace, ref.name


def _parsed_object(name: str, kind: str, namespace: str, object_name: str) -> ObjectRef:
    if kind not in _KINDS:
        raise ValueError(f"{name!r} begins with none of {sorted(_KINDS)}")
    return ObjectRef(_KINDS[kind], namespace, object_name)


def _hostname(hostname: str) -> str:
    # A host may be called "vhds" or "ipv4": it must not be taken for the mark of VHDS, or of a family.
    return f"%{ord(hostname[0]):x}{hostname[1:]}" if hostname in {_VHDS, *_KEPT} else _escaped(hostname)


def _joined(*parts: str) -> str:
    return "/".join(map(_escaped, parts))


def _escaped(part: str) -> str:
    if "/" not in part and "%" not in part:
        return part
    return part.replace("%", "%25").replace("/", "%2F")


def _parts(name: str, fewest: int, most: int) -> list[str]:
    parts = name.split("/")
    if not fewest <= len(parts) <= most:
        raise ValueError(f"{name!r} is no name of ours")
    return [unquote(part) for part in parts]


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{name!r} is no name of ours: {text!r} is no number")
    return int(text)
