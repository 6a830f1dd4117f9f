"""`tidegate bootstrap`: an Envoy bootstrap on standard output."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from xds_server.config import ConfigError
from xds_server.proxy.bootstrap import BootstrapOptions, ClientTls, XdsHost, XdsSocket, bootstrap, certificate_sources
from xds_server.proxy.process import private_file


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--xds-address",
        default="unix:tidegate-xds.sock",
        metavar="ADDRESS",
        help="the ADS server: unix:PATH or HOST:PORT (default unix:tidegate-xds.sock)",
    )
    parser.add_argument(
        "--node-id", default=socket.gethostname(), help="the name of this Envoy (default: the host's name)"
    )
    parser.add_argument("--zone", default="", help="the zone that this Envoy runs in")
    parser.add_argument(
        "--admin-socket",
        type=Path,
        default=Path("envoy-admin.sock"),
        metavar="PATH",
        help="Envoy's admin interface, readable by its owner only (default envoy-admin.sock)",
    )
    parser.add_argument(
        "--metrics",
        default="",
        metavar="HOST:PORT",
        help="an address for Envoy's /stats/prometheus and /ready, and nothing else of it",
    )
    for name, text in (("cert", "client certificate"), ("key", "client key"), ("ca", "authority of the server")):
        parser.add_argument(f"--xds-tls-{name}", type=Path, metavar="FILE", help=f"{text} (PEM)")
    parser.add_argument(
        "--xds-tls-sources",
        type=Path,
        metavar="DIR",
        help="write files there by which Envoy takes new certificates without a restart",
    )
    parser.add_argument("--xds-server-name", default="", help="the name in the server's certificate (default: HOST)")


def run(flags: argparse.Namespace) -> int:
    try:
        options = BootstrapOptions(
            node_id=flags.node_id,
            xds=_xds(flags),
            admin=flags.admin_socket,
            zone=flags.zone,
            metrics=host_port("--metrics", flags.metrics) if flags.metrics else None,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if isinstance(options.xds, XdsHost) and options.xds.tls:
        write_sources(options.xds.tls)
    print(bootstrap(options), end="")
    return 0


def _xds(flags: argparse.Namespace) -> XdsSocket | XdsHost:
    if flags.xds_address.startswith("unix:"):
        return XdsSocket(Path(flags.xds_address.removeprefix("unix:")))
    host, port = host_port("--xds-address", flags.xds_address)
    files = (flags.xds_tls_cert, flags.xds_tls_key, flags.xds_tls_ca)
    if not any(files):
        return XdsHost(host, port)
    if not all(files):
        raise ConfigError("--xds-tls-cert, --xds-tls-key and --xds-tls-ca go together: give all three")
    return XdsHost(host, port, ClientTls(*files, flags.xds_server_name or host, flags.xds_tls_sources))


def write_sources(tls: ClientTls) -> None:
    """Write what the bootstrap points at."""
    for path, text in certificate_sources(tls).items():
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_file(path, text)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; name a directory that can be written") from None


def host_port(flag: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{flag} {text}: give it as HOST:PORT" + (" or unix:PATH" if flag == "--xds-address" else ""))
    return host.strip("[]"), int(port)
