"""Configurations of Envoy without a control plane: what ours serves, at ports that are bound; and a server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

CAPTURE: Final = "capture/ipv4"
CAPTURE_PORT: Final = 15001
DIALLED_PORT: Final = 18080
"""Of the service's listener itself, for who dials Envoy."""
SERVER_PORT: Final = 8080
Json = dict[str, Any]


def bound(dump: Json, service: str) -> Json:
    """The same listeners, routes and clusters for all services; `service` begins the names of the one that is asked.

    Two are bound at all addresses: the capture listener, and at a port more a copy of that service's own.
    """
    found = _sections(dump)
    routes = {
        each["route_config"]["name"]: _bare(each["route_config"]) for each in found["Routes"]["dynamic_route_configs"]
    }
    listeners = {
        each["name"]: _bare(each["active_state"]["listener"]) for each in found["Listeners"]["dynamic_listeners"]
    }
    services = {name: _inline(each, routes) for name, each in listeners.items() if name.startswith("service/")}
    [name] = [each for each in services if each.startswith(f"service/{service}/") and "." in each]
    capture = listeners[CAPTURE] | {"address": _everywhere(CAPTURE_PORT)}
    own = {"name": "dialled", "address": _everywhere(DIALLED_PORT), "bind_to_port": True}
    dialled = services[name] | own | {"socket_options": capture["socket_options"]}
    bootstrap = {key: value for key, value in found["Bootstrap"]["bootstrap"].items() if key in _KEPT}
    return bootstrap | {
        "static_resources": {"listeners": [capture, *services.values(), dialled], "clusters": [*_clusters(found)]}
    }


_KEPT: Final = frozenset(
    {"layered_runtime", "stats_config", "stats_flush_on_admin", "overload_manager", "deferred_stat_options"}
)


def _sections(dump: Json) -> Mapping[str, Json]:
    """By what they are of."""
    return {each["@type"].rpartition(".")[2].removesuffix("ConfigDump"): each for each in dump["configs"]}


def _bare(message: Json) -> Json:
    """Without the type that it has where it can be of any."""
    return {key: value for key, value in message.items() if key != "@type"}


def _everywhere(port: int) -> Json:
    return {"socket_address": {"address": "0.0.0.0", "port_value": port}}


def _inline(listener: Json, routes: Mapping[str, Json]) -> Json:
    """Its routes are its own."""
    text = json.loads(json.dumps(listener))
    for chain in [*text["filter_chains"], *filter(None, [text.get("default_filter_chain")])]:
        for each in chain["filters"]:
            if found := each["typed_config"].pop("rds", None):
                each["typed_config"]["route_config"] = routes[found["route_config_name"]]
    return dict(text)


def _clusters(found: Mapping[str, Json]) -> Iterator[Json]:
    """With their endpoints as they are now."""
    endpoints = {
        each["endpoint_config"]["cluster_name"]: each["endpoint_config"]
        for each in found["Endpoints"]["dynamic_endpoint_configs"]
        if "cluster_name" in each["endpoint_config"]
    }
    for each in found["Clusters"]["dynamic_active_clusters"]:
        cluster = _bare(each["cluster"])
        if cluster.pop("eds_cluster_config", None) is None:
            yield cluster
        else:
            places = [{"lb_endpoints": [*_addresses(endpoints.get(cluster["name"], {}))]}]
            yield cluster | {
                "type": "STATIC",
                "load_assignment": {"cluster_name": cluster["name"], "endpoints": places},
            }


def _addresses(assignment: Json) -> Iterator[Json]:
    for place in assignment.get("endpoints", ()):
        for each in place.get("lb_endpoints", ()):
            yield {"endpoint": {"address": each["endpoint"]["address"]}}


def server() -> Json:
    """Answers every request with a few bytes, itself."""
    kind = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "server",
        "generate_request_id": False,
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{kind}.http.router.v3.Router", "suppress_envoy_headers": True},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
                        }
                    ],
                }
            ]
        },
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    address = {"socket_address": {"address": "::", "ipv4_compat": True, "port_value": SERVER_PORT}}
    listener = {"name": "server", "address": address, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener]}}
