"""What Envoy would do with a request: from the address it arrives at to the endpoints that may get it, and why.

Everything is read from the messages that Envoy is given, never from the objects they were made of,
so that an explanation cannot describe something else than what is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from xds_server.explain import http_connection_manager as managers
from xds_server.explain import listener as listeners
from xds_server.explain import origin
from xds_server.explain.answer import Answer, answered, cannot_tell, with_reason
from xds_server.explain.backend import with_backends
from xds_server.explain.cluster import endpoints
from xds_server.explain.interception import IF_OF_NODE, for_insiders, in_kernel, is_of_nodes
from xds_server.explain.match import UnmodelledError
from xds_server.explain.request import Request, Target, target
from xds_server.explain.result import CONSIDERED_LIMIT, Result
from xds_server.explain.route_table import route_table
from xds_server.explain.routing import Scene, routed
from xds_server.model.resource import LISTENER, Resource, ResourceKey
from xds_server.translation.envoy import HttpConnectionManager, Listener, TcpProxy

Resources = Mapping[ResourceKey, Resource]

_NETWORK: Final = "type.googleapis.com/envoy.extensions.filters.network."
_HTTP: Final = _NETWORK + "http_connection_manager.v3.HttpConnectionManager"
_NOTES: Final = _NETWORK + "set_filter_state.v3.Config"
"""It changes nothing, and routes may ask for what it has noted."""
_TCP: Final = _NETWORK + "tcp_proxy.v3.TcpProxy"


def explain(
    resources: Resources,
    request: Request,
    *,
    parent: str = "",
    address: str = "",
    port_offset: int = 0,
    frontends: Mapping[str, str] | None = None,
) -> tuple[Result, ...]:
    """One result for each address that listens on the URL's port, or for those of `parent` or `address` alone.

    Listeners bind their port plus `port_offset`, or behind a Service another one; where none serves the URL's port, it
    is taken as bound.
    `frontends` leads from a parent to the frontend that serves it, where that is another: a shared Ingress.
    The request is HTTP/1.1, as most clients begin; HTTP/2 differs in what its parser refuses.
    Raise `ValueError` in words for the request's author.
    """
    asked = target(request)
    frontend = (frontends or {}).get(parent, parent)
    found = list(_serving(resources, asked.port, port_offset)) or list(_bound(resources, asked.port))
    chosen = [
        (binding, listener)
        for binding, listener in found
        if (not frontend or origin.parent(listener.name) == frontend) and listeners.is_at(binding, address)
    ]
    note = for_insiders(resources, address, asked.port, request.client) if address else ""
    if address and not frontend and (left := in_kernel(resources, address, asked.port)):
        return (with_reason(left, note),)
    if not chosen:
        reason = _nobody(resources, asked, frontend, address, port_offset)
        return (Result(parent=parent, address=address, reason=reason),)
    where = IF_OF_NODE if address and is_of_nodes(resources, address, asked.port) else ""
    return tuple(
        replace(
            with_reason(with_reason(_told(resources, request, asked, listener, binding), where), note),
            parent=parent or origin.parent(listener.name),
            address=binding.address,
            listener=listener.name,
        )
        for binding, listener in chosen
    )


def _all_bindings(resources: Resources) -> Iterator[tuple[listeners.Binding, Any]]:
    for key in sorted(key for key in resources if key.type_url == LISTENER):
        listener = Listener.FromString(resources[key].body)
        for binding in listeners.bindings(listener):
            yield binding, listener


def _serving(resources: Resources, port: int, port_offset: int) -> Iterator[tuple[listeners.Binding, Any]]:
    for binding, listener in _all_bindings(resources):
        if _served_port(binding, listener, port_offset) == port:
            yield binding, listener


def _served_port(binding: listeners.Binding, listener: Any, port_offset: int) -> int:
    """The port that clients ask for: a listener's name says it, whatever Envoy binds."""
    named = origin.port(listener.name)
    return named.port if named is not None else binding.port - port_offset


def _bound(resources: Resources, port: int) -> Iterator[tuple[listeners.Binding, Any]]:
    return ((binding, listener) for binding, listener in _all_bindings(resources) if binding.port == port)


def _nobody(resources: Resources, asked: Target, frontend: str, address: str, port_offset: int) -> str:
    ports = {
        _served_port(binding, listener, port_offset)
        for binding, listener in _all_bindings(resources)
        if (not frontend or origin.parent(listener.name) == frontend) and listeners.is_at(binding, address)
    }
    where = " of ".join(filter(None, (f"port {asked.port}", frontend or address)))
    offered = f"; ports that are listened on: {', '.join(map(str, sorted(ports)))}" if ports else ""
    return f"nothing listens on {where}{offered}"


def _told(resources: Resources, request: Request, asked: Target, listener: Any, binding: listeners.Binding) -> Result:
    try:
        return _connected(resources, request, asked, listener, binding)
    except UnmodelledError as limit:
        return Result(reason=cannot_tell(limit))


def _connected(
    resources: Resources, request: Request, asked: Target, listener: Any, binding: listeners.Binding
) -> Result:
    """From the connection to the filter that serves it."""
    chain = listeners.filter_chain(listener, listeners.connection(asked, binding, listener))
    if chain is None:
        return Result(reason=_no_chain(listener, asked))
    result = Result(filter_chain=chain.name)
    filters = [each for each in chain.filters if each.typed_config.type_url != _NOTES]
    if not filters:
        return replace(result, reason="the listener has no usable backend for the connection: Envoy closes it")
    network_filter, *others = filters
    if others:
        raise UnmodelledError(f"network filter {network_filter.name}")
    terminates = chain.HasField("transport_socket")
    config = network_filter.typed_config
    if terminates and not asked.tls:
        return replace(result, reason="the listener speaks TLS: plain HTTP is not understood")
    if config.type_url == _TCP:
        ending = "Envoy ends TLS, and passes on what is inside" if terminates else "bytes are passed on as they come"
        result = replace(result, route=origin.route(network_filter.name), reason=ending)
        return _passed_through(resources, TcpProxy.FromString(config.value), result)
    if asked.tls and not terminates:
        return replace(result, reason="the listener speaks plain HTTP: a TLS handshake fails")
    if config.type_url == _HTTP:
        manager = HttpConnectionManager.FromString(config.value)
        return replace(_requested(resources, request, manager, asked, binding), filter_chain=chain.name)
    raise UnmodelledError(f"network filter {network_filter.name}")


def _no_chain(listener: Any, asked: Target) -> str:
    if not asked.tls:
        return "the listener takes only TLS connections: Envoy closes the connection"
    offered = listeners.server_names(listener)
    shown = ", ".join(offered[:CONSIDERED_LIMIT]) + (", ..." if len(offered) > CONSIDERED_LIMIT else "")
    name = f"server name {asked.sni}" if asked.sni else "a connection without server name"
    return f"no filter chain for {name}: Envoy closes the connection" + (f"; there are: {shown}" if offered else "")


def _passed_through(resources: Resources, proxy: Any, description: Result) -> Result:
    """A share whose cluster does not exist, or has no endpoints, is closed at once."""
    weighted = [(each.name, each.weight) for each in proxy.weighted_clusters.clusters] or [(proxy.cluster, 1)]
    closed = [name for name, weight in weighted if weight and not endpoints(resources, name)]
    result = with_backends(resources, replace(description, outcome="passthrough"), weighted)
    if not closed:
        return result
    return with_reason(result, f"no endpoints of {', '.join(closed)}: Envoy closes the connection")


def _requested(
    resources: Resources, request: Request, manager: Any, asked: Target, binding: listeners.Binding
) -> Result:
    head = managers.admitted(manager, request, asked.head, binding.port)
    if isinstance(head, Answer):
        return answered(head, asked.head)
    table = route_table(resources, manager)
    if table is None:
        name = manager.rds.route_config_name
        return answered(Answer(404, f"route configuration {name} is not served yet"), head)
    return routed(Scene(resources, manager, table, request, head))
