"""Whose requests a route of a Service is for: those of all pods, or of the pods of one namespace.

A connection's own address is noted when it begins, and routes ask for it: pods come and go with the route table alone.
No header takes part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from xds_server.model.refs import HostRef
from xds_server.translation import envoy, names
from xds_server.translation.route_match import every_request
from xds_server.translation.virtual_host import EncodedHost, joined

_NOT_FOUND: Final = 404

NOTED: Final = envoy.Filter(
    name="envoy.filters.network.set_filter_state",
    typed_config=envoy.any_of(
        envoy.SetFilterState(
            on_new_connection=[
                envoy.FilterStateValue(
                    object_key=names.CLIENT,
                    factory_key="envoy.network.ip",
                    format_string={
                        "text_format_source": {"inline_string": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}
                    },
                )
            ]
        )
    ),
)
"""Of each listener of a Service, be there routes for some clients or not: a filter that comes would drain it."""


def told_apart(hosts: Sequence[EncodedHost], addresses: Mapping[str, Sequence[str]]) -> EncodedHost:
    """One virtual host of several, each for the clients of a namespace or, the last, for everybody else.

    "Requests from a namespace with consumer routes will utilize the set of routes in the consumer namespace": those
    that none of these match do not fall to the others.
    """
    routes: list[envoy.Route] = []
    for host in sorted(hosts, key=lambda host: (not host.ref.clients, host.ref)):
        own = envoy.VirtualHost.FromString(host.entry[host.start :]).routes
        if not host.ref.clients:
            routes += own
        elif found := addresses.get(host.ref.clients):
            last = envoy.Route(name=names.UNMATCHED, match=every_request(), direct_response={"status": _NOT_FOUND})
            routes += (_narrowed(route, found) for route in (*own, last))
    ref = HostRef(hosts[0].ref.table, hosts[0].ref.hostname)
    body = envoy.serialised(envoy.VirtualHost(domains=[ref.hostname], routes=routes))
    return joined(ref, body, hosts)


def _narrowed(route: envoy.Route, addresses: Sequence[str]) -> envoy.Route:
    ranges = [
        envoy.AddressRange(address_prefix=each, prefix_len={"value": ip_address(each).max_prefixlen})
        for each in addresses
    ]
    route.match.filter_state.append(
        envoy.FilterStateMatcher(key=names.CLIENT, address_match=envoy.AddressMatcher(ranges=ranges))
    )
    return route
