"""What the process was told: the only reader of flags and environment, frozen before anything starts."""

from __future__ import annotations

import argparse
import ipaddress
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from xds_server.log import LogFormat
from xds_server.xds.identity import DEFAULT_TRUST_DOMAIN, is_trust_domain

DEFAULT_POOL: Final = "127.80.0.0/16"
DEFAULT_NAMESPACE = "tidegate-system"
DEFAULT_ANNOUNCEMENT_LEASE_S: Final = 10.0
DEFAULT_ADMIN: Final = "127.0.0.1:15080"
LoadBalancerMode = Literal["dedicated", "shared"]
ExposureType = Literal["Address", "Service", "HostPort"]


class ConfigError(ValueError):
    """A flag that cannot be used; the text names it and the way out."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the ADS server: its certificate and key, and the authority of the clients."""

    certificate: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whose API server is read: without a file that of the pod's service account, else of the user's kubeconfig.

    `namespace` is where the Lease of the replicas is, `pod` the name under which this one may hold it, and `ip` the
    address at which the others reach it.
    `cilium_pools`: Cilium's pools are read, since Cilium does not give their addresses away.
    """

    kubeconfig: Path | None = None
    context: str = ""
    namespace: str = DEFAULT_NAMESPACE
    pod: str = ""
    ip: str = ""
    cilium_pools: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """`admin` and `metrics` are HOST:PORT, or "" for none; `xds_listen` is "unix:PATH" or HOST:PORT.

    `cluster` is the source in the place of `manifests`.
    `datapath`: every node has the daemon, which leads connections to its Envoy.
    """

    manifests: tuple[Path, ...] = ()
    cluster: Cluster | None = None
    pool: tuple[str, ...] = (DEFAULT_POOL,)
    port_offset: int = 0
    ingress_mode: LoadBalancerMode = "dedicated"
    exposure: ExposureType = "Address"
    host_ports: tuple[range, ...] = ()
    datapath: bool = False
    announcement_lease_s: float = DEFAULT_ANNOUNCEMENT_LEASE_S
    default_tls_secret: str = ""
    xds_listen: str = ""
    xds_tls: TlsFiles | None = None
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    insecure_loopback: bool = False
    max_connection_age_s: float | None = None
    admin: str = DEFAULT_ADMIN
    metrics: str = ""
    state: Path = Path()
    envoy: str = ""
    log_level: str = "info"
    log_format: LogFormat = "auto"


def add_objects(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that reads manifests or the API server."""
    add_manifests(parser, required=False)
    parser.add_argument(
        "--kubernetes",
        action="store_true",
        help="read the API server instead: that of this pod's service account, else of your kubeconfig",
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="read the API server that this file names")
    parser.add_argument("--context", default="", metavar="NAME", help="of the kubeconfig (default: its current one)")


def add_manifests(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """The flags of every command that reads manifests."""
    parser.add_argument(
        "-f",
        "--filename",
        dest="manifests",
        metavar="DIR",
        action="append",
        required=required,
        type=Path,
        help="a manifest file, or a directory of them (may be repeated)",
    )
    parser.add_argument(
        "--pool",
        action="append",
        metavar="CIDR",
        help=f"addresses for Gateways and Ingresses while there is no LoadBalancerIPPool (default {DEFAULT_POOL}, "
        "in a cluster none; repeat it for IPv6)",
    )
    parser.add_argument(
        "--port-offset",
        type=int,
        default=0,
        metavar="N",
        help="add N to every listener's port, for users who may not bind low ports",
    )
    parser.add_argument(
        "--ingress-mode",
        choices=get_args(LoadBalancerMode),
        default="dedicated",
        help="whether an Ingress without an annotation has an address of its own (default) or shares one",
    )
    parser.add_argument(
        "--exposure",
        choices=get_args(ExposureType),
        default="Address",
        help="how Gateways and Ingresses are reached where neither parameters nor annotations say it (default Address)",
    )
    parser.add_argument(
        "--cilium-pools",
        action="store_true",
        help="give the addresses of CiliumLoadBalancerIPPools of a cluster away, where Cilium itself does not",
    )
    parser.add_argument(
        "--host-ports",
        default=None,
        metavar="PORT[-PORT],...",
        help="the nodes' ports that everybody may be exposed by (default: none, and with -f all)",
    )
    parser.add_argument(
        "--default-tls-secret",
        default="",
        metavar="NAMESPACE/NAME",
        help="the certificate of Ingress TLS hosts that name no secret",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that serves."""
    parser.add_argument(
        "--admin",
        default=DEFAULT_ADMIN,
        metavar="HOST:PORT",
        help=f'loopback address of /metrics, /healthz, /readyz and /debug; "off" for none (default {DEFAULT_ADMIN})',
    )
    add_logs(parser)
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="directory for the ADS socket and Envoy's log (default: one of this user and project)",
    )


def add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="info", help="(default info)"
    )
    parser.add_argument(
        "--log-format", choices=get_args(LogFormat), default="auto", help="text on a terminal, else JSON"
    )


def config(flags: argparse.Namespace) -> Config:
    """Check flags against each other; raises `ConfigError`."""
    given = vars(flags)
    manifests, cluster = tuple(flags.manifests or ()), _cluster(given)
    if manifests and cluster:
        raise ConfigError("-f and --kubernetes are two sources: give one")
    if not manifests and not cluster:
        raise ConfigError("give -f DIR for manifests, or --kubernetes or --kubeconfig FILE for an API server")
    for path in manifests:
        if not path.exists():
            raise ConfigError(f"-f {path}: there is no such file or directory")
    return Config(
        manifests=manifests,
        cluster=cluster,
        pool=_pool(flags.pool or ([] if cluster else [DEFAULT_POOL])),
        port_offset=_offset(flags.port_offset),
        ingress_mode=flags.ingress_mode,
        exposure=flags.exposure,
        host_ports=_host_ports(("" if cluster else "1-65535") if flags.host_ports is None else flags.host_ports),
        datapath=_datapath(given, flags.port_offset),
        announcement_lease_s=_lease(given),
        default_tls_secret=_secret(flags.default_tls_secret),
        xds_listen=given.get("xds_listen") or "",
        xds_tls=_tls(given),
        trust_domain=trust_domain(given.get("trust_domain") or DEFAULT_TRUST_DOMAIN),
        insecure_loopback=bool(given.get("insecure_loopback")),
        max_connection_age_s=_age(given),
        admin=_off(given.get("admin")),
        metrics=_off(given.get("metrics")),
        state=given.get("state") or _state(manifests),
        envoy=given.get("envoy") or "",
        log_level=given.get("log_level") or "info",
        log_format=given.get("log_format") or "auto",
    )


def _cluster(given: dict[str, object]) -> Cluster | None:
    kubeconfig, context = given.get("kubeconfig"), str(given.get("context") or "")
    if not (given.get("kubernetes") or kubeconfig or context):
        return None
    if isinstance(kubeconfig, Path) and not kubeconfig.is_file():
        raise ConfigError(f"--kubeconfig {kubeconfig}: there is no such file")
    return Cluster(
        kubeconfig if isinstance(kubeconfig, Path) else None,
        context,
        os.environ.get("POD_NAMESPACE") or DEFAULT_NAMESPACE,
        os.environ.get("POD_NAME", ""),
        os.environ.get("POD_IP", ""),
        bool(given.get("cilium_pools")),
    )


def add_trust_domain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust-domain",
        default=DEFAULT_TRUST_DOMAIN,
        metavar="NAME",
        help=f"of the identities in certificates, spiffe://NAME/... (default {DEFAULT_TRUST_DOMAIN})",
    )


def trust_domain(name: str) -> str:
    if not is_trust_domain(name):
        raise ConfigError(f"--trust-domain {name}: give lower-case letters, digits, '.', '-' and '_'")
    return name


def _off(listen: str | None) -> str:
    return "" if listen == "off" else listen or ""


def _pool(networks: list[str]) -> tuple[str, ...]:
    for text in networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ConfigError(f"--pool {text}: {error}; give one like {DEFAULT_POOL}") from None
        if network.num_addresses < 4:
            raise ConfigError(f"--pool {text}: too small for an address; give at least a /30")
    families = [ipaddress.ip_network(text).version for text in networks]
    if len(set(families)) < len(families):
        raise ConfigError("--pool: at most one network of each address family")
    return tuple(networks)


def _offset(offset: int) -> int:
    if not 0 <= offset < 65535:
        raise ConfigError(f"--port-offset {offset}: must be between 0 and 65534")
    return offset


def _datapath(given: dict[str, object], offset: int) -> bool:
    if given.get("datapath") and offset:
        raise ConfigError(
            "--port-offset and --datapath: where a daemon leads connections no port is bound: leave it out"
        )
    return bool(given.get("datapath"))


def _host_ports(text: str) -> tuple[range, ...]:
    found = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers = [int(each) if each.isascii() and each.isdecimal() else 0 for each in (first, last or first)]
        if not 1 <= numbers[0] <= numbers[1] <= 65535:
            raise ConfigError(f"--host-ports {text}: {part!r} is no port and no range; give 80,443,8000-8999")
        found.append(range(numbers[0], numbers[1] + 1))
    return tuple(found)


def _secret(text: str) -> str:
    if text and text.count("/") != 1:
        raise ConfigError(f"--default-tls-secret {text}: give it as NAMESPACE/NAME")
    return text


def _age(given: dict[str, object]) -> float | None:
    age = given.get("max_connection_age")
    if not isinstance(age, float):
        return None
    if not 1 <= age <= 86_400 * 365:
        raise ConfigError(f"--max-connection-age {age:g}: give seconds, from 1 to a year")
    if str(given.get("xds_listen") or "unix:").startswith("unix:"):
        raise ConfigError("--max-connection-age: is for TCP, where replicas share clients; give --xds-listen HOST:PORT")
    return age


def _lease(given: dict[str, object]) -> float:
    lease = given.get("announcement_lease", DEFAULT_ANNOUNCEMENT_LEASE_S)
    if not isinstance(lease, float) or not 1 <= lease <= 3600:
        raise ConfigError(f"--announcement-lease {lease}: give seconds, from 1 to 3600")
    return lease


def _tls(given: dict[str, object]) -> TlsFiles | None:
    files = [given.get(name) for name in ("xds_tls_cert", "xds_tls_key", "xds_tls_client_ca")]
    if not any(files):
        return None
    certificate, key, client_ca = files
    if not (isinstance(certificate, Path) and isinstance(key, Path) and isinstance(client_ca, Path)):
        raise ConfigError("--xds-tls-cert, --xds-tls-key and --xds-tls-client-ca go together: give all three")
    for path in (certificate, key, client_ca):
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file")
    return TlsFiles(certificate, key, client_ca)


def _state(manifests: tuple[Path, ...]) -> Path:
    """A directory of the user's own, so that no other user can put a socket there first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) if runtime else Path(tempfile.gettempdir())
    parts = manifests[0].resolve().parts[-2:] if manifests else ("kubernetes",)
    name = "-".join(part for part in parts if part.isprintable()).replace("/", "")
    return base / f"tidegate-{os.getuid()}" / name[:40]
