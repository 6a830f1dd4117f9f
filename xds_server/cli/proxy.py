"""`tidegate proxy`: the Envoy of one node, as a DaemonSet runs it."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from xds_server.app import private_directory
from xds_server.certificates import renewal
from xds_server.certificates.issuing import remote_signer
from xds_server.cli import standard_error
from xds_server.cli.bootstrap import host_port, write_sources
from xds_server.config import ConfigError, add_logs, add_trust_domain, trust_domain
from xds_server.proxy.bootstrap import BootstrapOptions, ClientTls, XdsHost, bootstrap
from xds_server.proxy.connection import Connected, Disconnected, diagnosis, watch
from xds_server.proxy.process import (
    EnvoyNotFoundError,
    EnvoyOptions,
    Event,
    Exited,
    Ready,
    Restarting,
    Started,
    find,
    supervise,
)
from xds_server.proxy.signals import until_signalled
from xds_server.xds.handshakes import Handshakes
from xds_server.xds.identity import Node, is_node_name, uri

events = structlog.get_logger("proxy")


@dataclass(frozen=True, slots=True)
class Settings:
    node: str
    xds: tuple[str, int]
    tls: ClientTls
    identity: str
    """The URI that our certificate is to have."""
    issuer: str
    """HOST:PORT of who signs it; "" where somebody else keeps the files."""
    token: Path
    metrics: tuple[str, int] | None
    state: Path
    zone: str
    envoy: Path
    concurrency: int | None
    drain_s: float

    @property
    def certificates(self) -> Path:
        return self.tls.certificate.parent


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node-name", default=os.environ.get("NODE_NAME", ""), metavar="NAME",
                        help="the name of this node, which is the proxy's (default: $NODE_NAME)")  # fmt: skip
    parser.add_argument("--xds-address", required=True, metavar="HOST:PORT", help="the ADS server")
    parser.add_argument("--xds-server-name", default="", help="the name in the server's certificate (default: HOST)")
    parser.add_argument("--ca", type=Path, required=True, metavar="FILE", help="authority of the server (PEM)")
    parser.add_argument("--identity-address", default="", metavar="HOST:PORT",
                        help="who signs this proxy's certificate; without it, name the files of one")  # fmt: skip
    parser.add_argument("--token", type=Path, metavar="FILE",
                        help="a service account token for the audience tidegate, read at each renewal")  # fmt: skip
    parser.add_argument("--cert", type=Path, metavar="FILE", help="client certificate, if somebody else renews it")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its key")
    add_trust_domain(parser)
    parser.add_argument("--metrics", default="", metavar="HOST:PORT",
                        help="an address for Envoy's /stats/prometheus and /ready, and nothing else of it")  # fmt: skip
    parser.add_argument("--state", type=Path, required=True, metavar="DIR",
                        help="for certificates, Envoy's admin socket, bootstrap and log; closed to others")  # fmt: skip
    parser.add_argument("--zone", default="", help="the zone of this node")
    parser.add_argument("--envoy", metavar="PATH", help="the Envoy binary (default: $TIDEGATE_ENVOY, then PATH)")
    parser.add_argument("--concurrency", type=int, metavar="N", help="threads of Envoy (default: one a CPU)")
    parser.add_argument("--drain", type=float, default=20.0, metavar="SECONDS",
                        help="how long clients may take to leave at a stop (default 20)")  # fmt: skip
    add_logs(parser)


def run(flags: argparse.Namespace) -> int:
    settings = _settings(flags)
    # gRPC is how certificates are asked for; why none came is told once, and not by gRPC too.
    with standard_error.logged(Handshakes(), flags.log_level, flags.log_format):
        until_signalled(lambda: proxy(settings))
    return 0


def _settings(flags: argparse.Namespace) -> Settings:
    if not is_node_name(flags.node_name):
        raise ConfigError(f"--node-name {flags.node_name!r}: give the node's name, as Kubernetes has it, or $NODE_NAME")
    if bool(flags.identity_address) == bool(flags.cert or flags.key):
        raise ConfigError("give --identity-address and --token, or --cert and --key: one of the two")
    if (flags.identity_address and not flags.token) or bool(flags.cert) != bool(flags.key):
        raise ConfigError("--identity-address goes with --token, and --cert with --key")
    host, port = host_port("--xds-address", flags.xds_address)
    if flags.identity_address:
        host_port("--identity-address", flags.identity_address)
    state = private_directory(flags.state)
    folder = state / "certificate"
    tls = ClientTls(
        certificate=flags.cert or folder / renewal.CERTIFICATE,
        private_key=flags.key or folder / renewal.KEY,
        trusted_ca=flags.ca,
        server_name=flags.xds_server_name or host,
        sources=state / "sources",
    )
    try:
        envoy = find(Path(flags.envoy) if flags.envoy else None, os.environ)
    except EnvoyNotFoundError as error:
        raise ConfigError(str(error)) from None
    return Settings(
        node=flags.node_name,
        xds=(host, port),
        tls=tls,
        identity=uri(trust_domain(flags.trust_domain), Node(flags.node_name)),
        issuer=flags.identity_address,
        token=flags.token or Path(),
        metrics=host_port("--metrics", flags.metrics) if flags.metrics else None,
        state=state,
        zone=flags.zone,
        envoy=envoy,
        concurrency=flags.concurrency,
        drain_s=flags.drain,
    )


async def proxy(settings: Settings) -> None:
    """Run until cancelled; Envoy starts when there is a certificate, be it one from before."""
    options = _options(settings)
    async with asyncio.TaskGroup() as tasks:
        if settings.issuer:
            sign = remote_signer(
                settings.issuer, settings.tls.server_name, settings.tls.trusted_ca, settings.token, settings.node
            )
            await renewal.obtain(settings.certificates, settings.identity, sign)
            tasks.create_task(renewal.keep(settings.certificates, settings.identity, sign, settings.tls.trusted_ca))
        tasks.create_task(supervise(options, _tell))
        log_file = options.directory / "envoy.log"
        tasks.create_task(watch(options.admin, partial(diagnosis, *settings.xds, settings.tls, log_file), _tell))


def _options(settings: Settings) -> EnvoyOptions:
    admin = settings.state / "admin.sock"
    try:
        text = bootstrap(
            BootstrapOptions(
                node_id=settings.node,
                xds=XdsHost(*settings.xds, settings.tls),
                admin=admin,
                zone=settings.zone,
                metrics=settings.metrics,
            ),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    write_sources(settings.tls)
    return EnvoyOptions(
        binary=settings.envoy,
        bootstrap=text,
        admin=admin,
        directory=settings.state / "envoy",
        concurrency=settings.concurrency,
        drain_s=settings.drain_s,
    )


def _tell(event: Event | Connected | Disconnected) -> None:
    match event:
        case Connected():
            events.info("connected to the control plane")
        case Disconnected(reason, way_out):
            events.warning("no connection to the control plane", reason=reason, way_out=way_out)
        case Started(pid, restarts):
            events.info("envoy started", pid=pid, restarts=restarts)
        case Ready(pid):
            events.info("envoy ready", pid=pid)
        case Exited(pid, code, last_words):
            events.warning("envoy exited", pid=pid, code=code, last_words=last_words)
        case Restarting(in_s, failures):
            events.warning("envoy restarts", in_s=round(in_s, 1), failures=failures)
