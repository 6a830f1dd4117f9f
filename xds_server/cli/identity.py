"""`tidegate identity`: the certificate of a node, for who may not ask for it himself.

The daemon of a node has rights in the kernel, and who asks for certificates has the token: they are two processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import structlog

from xds_server.app import private_directory
from xds_server.certificates import renewal
from xds_server.certificates.directory import replace
from xds_server.certificates.issuing import Signer, remote_signer
from xds_server.cli import standard_error
from xds_server.cli.bootstrap import host_port
from xds_server.config import ConfigError, add_logs, add_trust_domain, trust_domain
from xds_server.proxy.signals import until_signalled
from xds_server.xds.handshakes import Handshakes
from xds_server.xds.identity import Node, is_node_name, uri

AUTHORITY: Final = "ca.crt"
_LOOK_S: Final = 10.0

events = structlog.get_logger("identity")


@dataclass(frozen=True, slots=True)
class Settings:
    identity: str
    """The URI that the certificate is to have."""
    directory: Path
    trusted: Path
    sign: Signer
    once: bool


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node-name", default=os.environ.get("NODE_NAME", ""), metavar="NAME",
                        help="the name of this node (default: $NODE_NAME)")  # fmt: skip
    parser.add_argument("--identity-address", required=True, metavar="HOST:PORT", help="who signs the certificate")
    parser.add_argument("--server-name", default="", help="the name in the server's certificate (default: HOST)")
    parser.add_argument("--ca", type=Path, required=True, metavar="FILE", help="authority of the server (PEM)")
    parser.add_argument("--token", type=Path, required=True, metavar="FILE",
                        help="a service account token for the audience tidegate, read at each renewal")  # fmt: skip
    parser.add_argument("--directory", type=Path, required=True, metavar="DIR",
                        help="for tls.crt, tls.key and ca.crt; closed to others")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="end as soon as there is a certificate")
    add_trust_domain(parser)
    add_logs(parser)


def run(flags: argparse.Namespace) -> int:
    settings = _settings(flags)
    # As of `tidegate proxy`: why none came is told once, and not by gRPC too.
    with standard_error.logged(Handshakes(), flags.log_level, flags.log_format):
        until_signalled(lambda: identity(settings))
    return 0


def _settings(flags: argparse.Namespace) -> Settings:
    if not is_node_name(flags.node_name):
        raise ConfigError(f"--node-name {flags.node_name!r}: give the node's name, as Kubernetes has it, or $NODE_NAME")
    host, _ = host_port("--identity-address", flags.identity_address)
    return Settings(
        identity=uri(trust_domain(flags.trust_domain), Node(flags.node_name)),
        directory=private_directory(flags.directory, "--directory"),
        trusted=flags.ca,
        sign=remote_signer(flags.identity_address, flags.server_name or host, flags.ca, flags.token, flags.node_name),
        once=flags.once,
    )


async def identity(settings: Settings) -> None:
    """Return once there is a certificate, or renew it until cancelled."""
    copy(settings.trusted, settings.directory)
    await renewal.obtain(settings.directory, settings.identity, settings.sign)
    if settings.once:
        return
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(renewal.keep(settings.directory, settings.identity, settings.sign, settings.trusted))
        tasks.create_task(_keep_copied(settings.trusted, settings.directory))


def copy(trusted: Path, directory: Path) -> None:
    """Who reads the certificate outlives the volume that the authority is mounted from, as an Envoy does its pod.

    An authority that cannot be read leaves the copy as it is.
    """
    kept = directory / AUTHORITY
    try:
        found = trusted.read_bytes()
    except OSError as error:
        events.warning("authority not read", path=str(trusted), error=error.strerror)
        return
    with suppress(FileNotFoundError):
        if kept.read_bytes() == found:
            return
    try:
        replace(kept, found)
    except OSError as error:
        events.warning("authority not written", path=str(kept), error=error.strerror)


async def _keep_copied(trusted: Path, directory: Path) -> NoReturn:
    while True:
        await asyncio.sleep(_LOOK_S)
        copy(trusted, directory)
