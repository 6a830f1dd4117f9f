"""What may differ between two Envoys of ours before they have spoken to the control plane.

The message itself is built in `bootstrap_message`, whose classes take half a second to import:
they are loaded by the first call, so that a command that starts no Envoy does not wait for them.
Must not know: processes, resources of the control plane.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

# Envoy refuses regular expressions that compile to more instructions than this; the control plane refuses them first.
MAX_REGEX_PROGRAM_SIZE = 1000


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The files that an Envoy shows the control plane, and what it accepts in return."""

    certificate: Path
    private_key: Path
    trusted_ca: Path
    server_name: str


@dataclass(frozen=True, slots=True)
class XdsSocket:
    """A Unix socket; its mode says who may connect."""

    path: Path


@dataclass(frozen=True, slots=True)
class XdsHost:
    """A TCP address; without `tls` it must be on loopback."""

    host: str
    port: int
    tls: ClientTls | None = None

    def __post_init__(self) -> None:
        if self.tls is None and not is_loopback(self.host):
            raise ValueError(
                f"xDS address {self.host}:{self.port} is not on this machine: "
                "name client certificate, key and CA files, or use a Unix socket",
            )


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """One Envoy, as its operator describes it."""

    node_id: str
    xds: XdsSocket | XdsHost
    admin: Path
    """Envoy's admin interface: a Unix socket that only its owner may open (S11)."""
    node_cluster: str = "tidegate"
    zone: str = ""
    metrics: tuple[str, int] | None = None
    """A loopback address that answers GET /stats/prometheus and GET /ready, and nothing else."""
    max_connections: int = 50_000
    max_heap_bytes: int = 2 << 30
    max_regex_program_size: int = MAX_REGEX_PROGRAM_SIZE

    def __post_init__(self) -> None:
        if not self.node_id:
            raise ValueError("an Envoy needs a node id: the control plane knows it by that name")
        if self.metrics is not None and not is_loopback(self.metrics[0]):
            raise ValueError(f"metrics address {self.metrics[0]} is not a loopback address: use one, such as 127.0.0.1")
        for socket in (self.admin, *([self.xds.path] if isinstance(self.xds, XdsSocket) else [])):
            if len(str(socket.absolute()).encode()) > 107:
                raise ValueError(
                    f"socket path {socket} has more than the 107 bytes that Linux allows: use a shorter one"
                )


def bootstrap(options: BootstrapOptions) -> str:
    """JSON text that Envoy takes by `--config-path`, with the field names of Envoy's documentation."""
    from xds_server.proxy.bootstrap_message import document  # noqa: PLC0415  (see the module's docstring)

    return json.dumps(document(options), indent=2) + "\n"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
