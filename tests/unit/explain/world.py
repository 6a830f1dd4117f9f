"""Small worlds of hand-built Envoy messages."""

from __future__ import annotations

from typing import Any

from xds_server.explain.explain import explain
from xds_server.explain.request import Request
from xds_server.explain.result import Result
from xds_server.model.backend import Cluster, Endpoint, Endpoints
from xds_server.model.refs import ClusterRef
from xds_server.model.resource import LISTENER, ROUTE_CONFIGURATION, VIRTUAL_HOST, Resource, ResourceKey, resource
from xds_server.translation import cluster, endpoint
from xds_server.translation import envoy as e

ADDRESS = "127.80.0.1"
WEB = "gateway/default/web/80"
SHOP, CART, EMPTY = (ClusterRef("default", name, 80, "http") for name in ("shop", "cart", "empty"))
SHOP_NAME, CART_NAME, EMPTY_NAME = (f"default/{name}/80/http" for name in ("shop", "cart", "empty"))

Resources = dict[ResourceKey, Resource]


def collected(*resources: Resource) -> Resources:
    return {each.key: each for each in resources}


def manager(table: str = WEB, **fields: Any) -> Any:
    return e.HttpConnectionManager(
        stat_prefix="test",
        rds=e.Rds(config_source=e.ADS, route_config_name=table),
        **{
            "http_filters": [e.HttpFilter(name="envoy.filters.http.router", typed_config=e.any_of(e.Router()))],
            "use_remote_address": {"value": True},
            **fields,
        },
    )


def chain(network_filter: Any, *server_names: str, tls: bool = False) -> Any:
    made = e.FilterChain(filters=[e.Filter(name="only", typed_config=e.any_of(network_filter))])
    made.filter_chain_match.server_names.extend(server_names)
    if tls:
        made.transport_socket.name = "envoy.transport_sockets.tls"
    return made


def listener(*chains: Any, name: str = WEB, port: int = 80, addresses: tuple[str, ...] = (ADDRESS,)) -> Resource:
    at = [e.Address(socket_address=e.SocketAddress(address=each, port_value=port)) for each in addresses]
    message = e.Listener(
        name=f"{name}/{addresses[0]}",
        address=at[0],
        additional_addresses=[e.AdditionalAddress(address=each) for each in at[1:]],
        filter_chains=chains or [chain(manager(name))],
    )
    return resource(LISTENER, message.name, e.serialised(message))


def table(*hosts: Any, name: str = WEB, **fields: Any) -> Resource:
    message = e.RouteConfiguration(name=name, virtual_hosts=hosts, **fields)
    return resource(ROUTE_CONFIGURATION, name, e.serialised(message))


def discovered(name: str, host: Any) -> Resource:
    return resource(VIRTUAL_HOST, name, e.serialised(host))


def host(*routes: Any, domains: tuple[str, ...] = ("*",), **fields: Any) -> Any:
    return e.VirtualHost(name=domains[0], domains=domains, routes=routes, **fields)


def to(name: str = SHOP_NAME, *, rule: int = 0, match: Any = None, **fields: Any) -> Any:
    """A route that forwards to a cluster; `fields` are of its action."""
    return e.Route(
        name=f"httproute/default/web/{rule}/0",
        match=match or e.RouteMatch(prefix="/"),
        route=e.RouteAction(cluster=name, timeout=e.milliseconds(0), **fields),
    )


def answer(status: int, *, rule: int = 0, match: Any = None) -> Any:
    return e.Route(
        name=f"httproute/default/web/{rule}/0",
        match=match or e.RouteMatch(prefix="/"),
        direct_response=e.DirectResponseAction(status=status),
    )


def redirect(*, match: Any = None, **fields: Any) -> Any:
    return e.Route(
        name="httproute/default/web/0/0",
        match=match or e.RouteMatch(prefix="/"),
        redirect=e.RedirectAction(**fields),
    )


def service(ref: ClusterRef, *endpoints: str) -> tuple[Resource, Resource]:
    found = Endpoints(ref, tuple(Endpoint(each, 8080) for each in endpoints))
    return cluster.cluster(Cluster(ref)), endpoint.cluster_load_assignment(ref, found)


BACKENDS = (
    *service(SHOP, "10.0.0.1", "10.0.0.2"),
    *service(CART, "10.0.0.3"),
    *service(EMPTY),
)


def asked(resources: Resources, url: str = "http://shop.test/", method: str = "GET", **more: Any) -> Result:
    """The one result of a request; `headers` and `client` are of the request, the rest of the question."""
    of_request = {name: more.pop(name) for name in ("headers", "client") if name in more}
    [result] = explain(resources, Request(method, url, **of_request), **more)
    return result


def served(*routes: Any, **fields: Any) -> Resources:
    """One plaintext listener with one virtual host of these routes; `fields` are of the connection manager."""
    return collected(listener(chain(manager(**fields))), table(host(*routes)), *BACKENDS)
