"""What is served: one named, serialised, versioned resource of Envoy, or of a node's daemon."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

_PREFIX: Final = "type.googleapis.com/"

LISTENER: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST: Final = _PREFIX + "envoy.config.route.v3.VirtualHost"
CLUSTER: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
CLUSTER_LOAD_ASSIGNMENT: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

# Of the daemon of a node: see proto/tidegate/datapath/v1.
INTERCEPTED: Final = _PREFIX + "tidegate.datapath.v1.Service"
WORKLOADS: Final = _PREFIX + "tidegate.datapath.v1.Workloads"
ANNOUNCEMENTS: Final = _PREFIX + "tidegate.datapath.v1.Announcements"
DATAPATH: Final = frozenset({INTERCEPTED, WORKLOADS, ANNOUNCEMENTS})
OF_A_NODE: Final = frozenset({WORKLOADS, ANNOUNCEMENTS})
"""Types whose resources are named as the only node that may have them."""


class ResourceKey(NamedTuple):
    type_url: str
    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A serialised message and what it makes Envoy look up. Its bytes, which may be a key, never show in a repr.

    `references` names the clusters of a route configuration, the route configurations, secrets and clusters of a
    listener, the endpoints and secrets of a cluster, and the listeners that connections are led to.
    A route configuration that is served by VHDS carries a `stem`: the same message without its `vhds` field.
    Appending each of its virtual hosts to the stem gives the message for clients that cannot use VHDS.
    """

    type_url: str
    name: str
    body: bytes = field(repr=False)
    version: str
    references: tuple[ResourceKey, ...] = ()
    stem: bytes | None = field(default=None, repr=False)

    @property
    def key(self) -> ResourceKey:
        return ResourceKey(self.type_url, self.name)


def resource(
    type_url: str,
    name: str,
    body: bytes,
    references: tuple[ResourceKey, ...] = (),
    stem: bytes | None = None,
) -> Resource:
    """Version a body by its content, so that every replica gives the same answer before and after a restart."""
    return Resource(type_url, name, body, blake2b(body, digest_size=8).hexdigest(), references, stem)
