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

CERTIFICATE_SOURCE = "tidegate/certificate"
AUTHORITY_SOURCE = "tidegate/authority"

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The files that an Envoy shows the control plane, and what it accepts in return.

    With `sources` Envoy takes new files while it runs: `certificate_sources` writes there what the bootstrap points at.
    """

    certificate: Path
    private_key: Path
    trusted_ca: Path
    server_name: str
    sources: Path | None = None


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
    """An address that answers GET /stats/prometheus and GET /ready, and nothing else."""
    max_connections: int = 50_000
    max_heap_bytes: int = 2 << 30
    max_regex_program_size: int = MAX_REGEX_PROGRAM_SIZE

    def __post_init__(self) -> None:
        if not self.node_id:
            raise ValueError("an Envoy needs a node id: the control plane knows it by that name")
        if self.metrics is not None and not is_address(self.metrics[0]):
            raise ValueError(f"metrics address {self.metrics[0]} is not an IP address: Envoy binds no names")
        for socket in (self.admin, *([self.xds.path] if isinstance(self.xds, XdsSocket) else [])):
            if len(str(socket.absolute()).encode()) > 107:
                raise ValueError(
                    f"socket path {socket} has more than the 107 bytes that Linux allows: use a shorter one"
                )


def bootstrap(options: BootstrapOptions) -> str:
    """JSON text that Envoy takes by `--config-path`, with the field names of Envoy's documentation."""
    from xds_server.proxy.bootstrap_message import document  # noqa: PLC0415  (see the module's docstring)

    return json.dumps(document(options), indent=2) + "\n"


def certificate_sources(tls: ClientTls) -> dict[Path, str]:
    """Texts of the files that tell Envoy where its certificate and its authority are, and to look when they change.

    It looks again when something is renamed in their directories, as the kubelet does with what it mounts.
    """
    if tls.sources is None:
        return {}
    pair: dict[str, object] = {"certificate_chain": _file(tls.certificate), "private_key": _file(tls.private_key)}
    match = {"san_type": "IP_ADDRESS" if is_address(tls.server_name) else "DNS", "matcher": {"exact": tls.server_name}}
    trust: dict[str, object] = {"trusted_ca": _file(tls.trusted_ca), "match_typed_subject_alt_names": [match]}
    secrets: dict[str, dict[str, object]] = {
        CERTIFICATE_SOURCE: {"tls_certificate": pair | _watched(tls.certificate)},
        AUTHORITY_SOURCE: {"validation_context": trust | _watched(tls.trusted_ca)},
    }
    return {
        source(tls.sources, name): json.dumps({"resources": [{"@type": _TYPE, "name": name, **secret}]}) + "\n"
        for name, secret in secrets.items()
    }


def source(directory: Path, name: str) -> Path:
    return directory / f"{name.rpartition('/')[2]}.json"


def _file(path: Path) -> dict[str, str]:
    return {"filename": str(path.absolute())}


def _watched(path: Path) -> dict[str, dict[str, str]]:
    return {"watched_directory": {"path": str(path.absolute().parent)}}


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
