"""The route configuration of a connection manager, with the virtual hosts that are served beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xds_server.explain.match import UnmodelledError
from xds_server.model.resource import ROUTE_CONFIGURATION, VIRTUAL_HOST, Resource, ResourceKey
from xds_server.translation.envoy import RouteConfiguration, VirtualHost


@dataclass(frozen=True, slots=True)
class RouteTable:
    configuration: Any
    virtual_hosts: tuple[Any, ...]


def route_table(resources: Mapping[ResourceKey, Resource], manager: Any) -> RouteTable | None:
    """None while the route configuration that a listener names is not served."""
    configuration = _configuration(resources, manager)
    if configuration is None:
        return None
    if configuration.vhost_header:
        raise UnmodelledError("choice of virtual hosts by another header than Host")
    inline = tuple(configuration.virtual_hosts)
    if not configuration.HasField("vhds"):
        return RouteTable(configuration, inline)
    # VHDS names a virtual host after its route configuration: "CONFIGURATION/HOSTNAME".
    prefix = f"{configuration.name}/"
    discovered = (
        VirtualHost.FromString(resource.body)
        for key, resource in resources.items()
        if key.type_url == VIRTUAL_HOST and key.name.startswith(prefix) and "/" not in key.name[len(prefix) :]
    )
    return RouteTable(configuration, (*inline, *discovered))


def _configuration(resources: Mapping[ResourceKey, Resource], manager: Any) -> Any | None:
    kind = manager.WhichOneof("route_specifier")
    if kind == "route_config":
        return manager.route_config
    if kind != "rds":
        raise UnmodelledError(f"route specifier {kind}")
    found = resources.get(ResourceKey(ROUTE_CONFIGURATION, manager.rds.route_config_name))
    return None if found is None else RouteConfiguration.FromString(found.body)
