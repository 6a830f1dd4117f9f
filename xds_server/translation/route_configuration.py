"""Route tables: all virtual hosts in one message, or, where there are many, each by itself through VHDS.

One message is the better answer while it is small: it changes atomically and every client takes it.
A large one would be sent whole for each change, which VHDS spares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from xds_server.model.refs import HostRef, TableRef
from xds_server.model.resource import ROUTE_CONFIGURATION, VIRTUAL_HOST, Resource, ResourceKey, resource
from xds_server.translation import envoy, names
from xds_server.translation.virtual_host import EncodedHost, misdirected

_VHDS: Final = envoy.serialised(envoy.RouteConfiguration(vhds=envoy.Vhds(config_source=envoy.ADS)))

# Envoy would name its own address in place of a loopback client's, and keep what a client says of itself before it:
# no hop before us is trusted, so backends see the connection's own peer and nothing else.
_CLIENT_ADDRESS: Final = envoy.HeaderValueOption(
    header=envoy.HeaderValue(key="x-forwarded-for", value="%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
    append_action=envoy.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
)


def route_configuration(table: TableRef, hosts: Iterable[EncodedHost]) -> Resource:
    """All virtual hosts of a table; they come sorted, since Envoy compares what it gets bytewise."""
    name = names.route_configuration(table)
    parts, references = [_stem(name)], set[ResourceKey]()
    for host in hosts:
        parts.append(host.entry)
        references.update(host.references)
    return resource(ROUTE_CONFIGURATION, name, b"".join(parts), tuple(sorted(references)))


def vhds_route_configuration(table: TableRef, own: Sequence[EncodedHost]) -> Resource:
    """A table that names only the virtual hosts that no object wrote; the others are resources of their own."""
    name = names.route_configuration(table, vhds=True)
    stem = b"".join((_stem(name), *(host.entry for host in own)))
    return resource(ROUTE_CONFIGURATION, name, stem + _VHDS, stem=stem)


def virtual_host(host: EncodedHost) -> Resource:
    """The message has the resource's name: by it Envoy removes the host again."""
    name = names.virtual_host(host.ref, vhds=True)
    return resource(VIRTUAL_HOST, name, host.named(vhds=True), host.references)


def misdirected_hosts(table: TableRef, others: Iterable[str]) -> list[EncodedHost]:
    """The hosts that a client may not ask for on a connection of this table's listener.

    "If another Listener has an exact match or more specific wildcard match for the requested host, the Gateway SHOULD
    return 421"; a host that this listener's own hostname does not cover can only be misdirected as well.
    """
    if not table.hostname:
        return []
    within = {other for other in others if other != table.hostname and _covers(table.hostname, other)}
    outside = () if table.hostname == "*" else ("*",)
    return [misdirected(HostRef(table, hostname)) for hostname in sorted((*outside, *within))]


def _covers(hostname: str, other: str) -> bool:
    return hostname == "*" or (hostname.startswith("*.") and other.endswith(hostname[1:]))


def _stem(name: str) -> bytes:
    return envoy.serialised(
        envoy.RouteConfiguration(
            name=name,
            request_headers_to_add=[_CLIENT_ADDRESS],
            ignore_port_in_host_matching=True,
        )
    )
