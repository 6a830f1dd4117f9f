"""`tidegate serve`: the ADS server alone."""

from __future__ import annotations

import argparse
import asyncio
import resource
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from xds_server.app import ControlPlane, private_directory, reading
from xds_server.cli import issuer, standard_error
from xds_server.cli.offline import nothing_in
from xds_server.config import (
    DEFAULT_ANNOUNCEMENT_LEASE_S,
    Config,
    ConfigError,
    add_objects,
    add_server,
    add_trust_domain,
    config,
)
from xds_server.metrics import handshake_counter
from xds_server.proxy.signals import until_signalled
from xds_server.xds.handshakes import Handshakes


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_objects(parser)
    add_server(parser)
    parser.add_argument(
        "--metrics",
        default="off",
        metavar="HOST:PORT",
        help="any address, for /metrics, /healthz and /readyz alone: for Prometheus and kubelet (default off)",
    )
    parser.add_argument(
        "--xds-listen",
        metavar="ADDRESS",
        help="unix:PATH (mode 0600), or HOST:PORT with TLS (default: a socket in the state directory)",
    )
    for name, text in (
        ("cert", "server certificate"),
        ("key", "server key"),
        ("client-ca", "authority of the clients"),
    ):
        parser.add_argument(f"--xds-tls-{name}", type=Path, metavar="FILE", help=f"{text} (PEM)")
    add_trust_domain(parser)
    parser.add_argument(
        "--datapath",
        action="store_true",
        help="every node has the daemon (`tidegate node`), which leads connections to its Envoy: for the mesh, and for "
        "Gateways without a port that Envoy binds",
    )
    parser.add_argument(
        "--allow-empty",
        action="store_true",
        help="start also where -f has no manifest: all that nodes and proxies had of another server is taken from them",
    )
    parser.add_argument(
        "--announcement-lease",
        type=float,
        default=DEFAULT_ANNOUNCEMENT_LEASE_S,
        metavar="SECONDS",
        help="so long a node's daemon may be away before another node announces its addresses (default: %(default)g)",
    )
    parser.add_argument("--insecure-loopback", action="store_true", help="allow TCP without TLS, on a loopback address")
    parser.add_argument(
        "--max-connection-age",
        type=float,
        metavar="SECONDS",
        help="ask clients of TCP to connect again after this, so that replicas share them (default: never)",
    )
    issuer.add_flags(parser)


def run(flags: argparse.Namespace) -> int:
    settings = config(flags)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each stream and each watch takes one
    signs, given = issuer.options(flags, settings), vars(flags)
    handshakes = Handshakes()
    with standard_error.logged(handshakes, settings.log_level, settings.log_format):
        signing = issuer.issuer(signs, given.get("kubeconfig"), given.get("context"))
        until_signalled(lambda: _serve(settings, signing, handshakes, allow_empty=flags.allow_empty))
    return 0


async def _serve(
    settings: Config, signing: AbstractAsyncContextManager[None], handshakes: Handshakes, *, allow_empty: bool
) -> None:
    if not settings.xds_listen:
        private_directory(settings.state)
    plane = ControlPlane(settings)
    plane.metrics.watch(handshake_counter(lambda: handshakes.failed))
    async with AsyncExitStack() as stack:
        statuses = None
        if settings.cluster:
            statuses = await stack.enter_async_context(reading(plane, settings.cluster))
        else:
            plane.load()
            # What becomes empty while it is served is a change like any other; at a start it is a wrong path.
            if plane.scan.found_nothing and not allow_empty:
                raise ConfigError(f"{nothing_in(settings.manifests)}; --allow-empty serves nothing on purpose")
        await stack.enter_async_context(plane.serving())
        await stack.enter_async_context(signing)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(plane.run())
        tasks.create_task(plane.watch())
        tasks.create_task(plane.announce())
        if statuses is not None:
            tasks.create_task(statuses.run(plane.loaded))
