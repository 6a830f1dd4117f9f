"""What else must hold of a golden outcome, besides being what it was: judged without looking at the kept files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import betterproto2
from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls

from tests.envoy_validate import CLASSES, Resources
from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    Resource,
    ResourceKey,
)
from xds_server.status.conditions import ConditionRow

SECOND_DECODER: Final[dict[str, type[betterproto2.Message]]] = {
    LISTENER: listener.Listener,
    ROUTE_CONFIGURATION: route.RouteConfiguration,
    VIRTUAL_HOST: route.VirtualHost,
    CLUSTER: cluster.Cluster,
    CLUSTER_LOAD_ASSIGNMENT: endpoint.ClusterLoadAssignment,
    SECRET: tls.Secret,
}

# Types and reasons of Gateway API v1.6, and our own for what it has no word for.
_ROUTE: Final = {
    "Accepted": {
        "True": {"Accepted"},
        "False": {
            "NotAllowedByListeners",
            "NoMatchingListenerHostname",
            "NoMatchingParent",
            "UnsupportedValue",
            "IncompatibleFilters",
        },
    },
    "ResolvedRefs": {
        "True": {"ResolvedRefs"},
        "False": {"RefNotPermitted", "InvalidKind", "BackendNotFound", "UnsupportedProtocol"},
    },
    "PartiallyInvalid": {"True": {"UnsupportedValue", "IncompatibleFilters"}},
}


def _pool(prefix: str) -> dict[str, dict[str, set[str]]]:
    return {
        "Accepted": {"True": {"Accepted"}, "False": {"InvalidBlocks"}},
        f"{prefix}PoolConflict": {"True": {"BlocksOverlap"}, "False": {"NoConflict"}},
        **{f"{prefix}{count}": {"Unknown": {"Counted"}} for count in ("IPsTotal", "IPsAvailable", "IPsUsed")},
    }


STANDARD: Final[dict[str, dict[str, dict[str, set[str]]]]] = {
    "GatewayClass": {
        "Accepted": {"True": {"Accepted"}, "False": {"InvalidParameters", "Unsupported"}},
        "SupportedVersion": {"True": {"SupportedVersion"}, "False": {"UnsupportedVersion"}},
    },
    "Gateway": {
        "Accepted": {
            "True": {"Accepted", "ListenersNotValid"},
            "False": {"Invalid", "InvalidParameters", "ListenersNotValid", "UnsupportedAddress"},
        },
        "ResolvedRefs": {
            "True": {"ResolvedRefs"},
            "False": {"ListenersNotResolved", "RefNotPermitted", "InvalidClientCertificateRef"},
        },
        "InsecureFrontendValidationMode": {"True": {"ConfigurationChanged"}},
    },
    "Listener": {
        "Accepted": {
            "True": {"Accepted"},
            "False": {
                "PortUnavailable",
                "UnsupportedProtocol",
                "UnsupportedValue",
                "ProtocolConflict",
                "HostnameConflict",
                "NoValidCACertificate",
            },
        },
        "Conflicted": {"True": {"HostnameConflict", "ProtocolConflict"}, "False": {"NoConflicts"}},
        "ResolvedRefs": {
            "True": {"ResolvedRefs"},
            "False": {
                "InvalidCertificateRef",
                "InvalidRouteKinds",
                "RefNotPermitted",
                "InvalidCACertificateRef",
                "InvalidCACertificateKind",
            },
        },
        "OverlappingTLSConfig": {"True": {"OverlappingHostnames", "OverlappingCertificates"}},
    },
    "HTTPRoute": _ROUTE,
    "GRPCRoute": _ROUTE,
    "TLSRoute": _ROUTE,
    "TCPRoute": _ROUTE,
    "UDPRoute": _ROUTE,
    # Ingress has no conditions of its own: the words of routes and listeners, for the same things.
    "Ingress": {
        "Accepted": {"True": {"Accepted"}, "False": {"UnsupportedValue"}},
        "ResolvedRefs": {
            "True": {"ResolvedRefs"},
            "False": {*_ROUTE["ResolvedRefs"]["False"], "InvalidCertificateRef"},
        },
        "PartiallyInvalid": {"True": {"UnsupportedValue"}},
    },
    # Pools are ours; the types are those of Cilium's pools.
    "LoadBalancerIPPool": _pool(""),
    "CiliumLoadBalancerIPPool": _pool("cilium.io/"),
}


def odd_conditions(conditions: tuple[ConditionRow, ...]) -> list[ConditionRow]:
    """Those whose type, status and reason the specification does not have together."""
    return [
        row
        for row in conditions
        if row.reason
        not in STANDARD["Listener" if row.kind == "Gateway" and row.section else row.kind]
        .get(row.type, {})
        .get(row.status, set())
    ]


def dangling(resources: Resources) -> list[tuple[ResourceKey, ResourceKey]]:
    """References that lead nowhere, with who makes them: by what a message says, not by what we say of it."""
    return [
        (key, wanted)
        for key, resource in sorted(resources.items())
        for wanted in named(CLASSES[key.type_url].FromString(resource.body))
        if wanted not in resources and wanted.name != "nowhere"
    ] + [
        (key, wanted)
        for key, resource in sorted(resources.items())
        for wanted in resource.references
        if wanted not in resources
    ]


def needless_secrets(resources: Resources) -> list[ResourceKey]:
    """Secrets that no listener presents, so that nobody needs to have them."""
    presented = {
        wanted for key, resource in resources.items() if key.type_url == LISTENER for wanted in resource.references
    }
    return [key for key in sorted(resources) if key.type_url == SECRET and key not in presented]


_NAMES: Final = {
    ("Rds", "route_config_name"): ROUTE_CONFIGURATION,
    ("SdsSecretConfig", "name"): SECRET,
    ("RouteAction", "cluster"): CLUSTER,
    ("RequestMirrorPolicy", "cluster"): CLUSTER,
    ("ClusterWeight", "name"): CLUSTER,
    ("TcpProxy", "cluster"): CLUSTER,
    ("EdsClusterConfig", "service_name"): CLUSTER_LOAD_ASSIGNMENT,
}


def named(message: Any) -> Iterator[ResourceKey]:
    """Every name of another resource, however deep, also inside Any."""
    if message.DESCRIPTOR.full_name == "google.protobuf.Any":
        yield from named(_unpacked(message))
        return
    for field, value in message.ListFields():
        type_url = _NAMES.get((message.DESCRIPTOR.name, field.name))
        if type_url:
            yield ResourceKey(type_url, value)
        if field.message_type is not None:
            yield from _inside(field, value)


def _inside(field: Any, value: Any) -> Iterator[ResourceKey]:
    if field.message_type.GetOptions().map_entry:
        values = list(value.values())
    else:
        values = list(value) if field.is_repeated else [value]
    for each in values:
        if hasattr(each, "DESCRIPTOR"):
            yield from named(each)


def _unpacked(message: Any) -> Any:
    from google.protobuf import descriptor_pool, message_factory

    descriptor = descriptor_pool.Default().FindMessageTypeByName(message.type_url.rpartition("/")[2])
    return message_factory.GetMessageClass(descriptor).FromString(message.value)


def seen_by_a_second_decoder(resource: Resource) -> Any:
    """The message after a way through an implementation of protobuf that shares no code with the first."""
    again = bytes(SECOND_DECODER[resource.type_url].parse(resource.body))
    return CLASSES[resource.type_url].FromString(again)
