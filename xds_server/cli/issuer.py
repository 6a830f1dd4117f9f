"""The flags of `tidegate serve` for the service that signs the certificates of proxies."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from xds_server.certificates.issuing import ACCOUNT, IssuerOptions, issuing
from xds_server.cli.bootstrap import host_port
from xds_server.config import Config, ConfigError
from xds_server.kube.client import Api, CredentialsError, credentials
from xds_server.xds.credentials import ListenError

NAMESPACE = "tidegate-system"

log = structlog.get_logger("identity")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--identity-listen", default="", metavar="HOST:PORT",
                        help="sign certificates of node proxies there, by an API server's word")  # fmt: skip
    parser.add_argument("--identity-ca", type=Path, metavar="DIR",
                        help="tls.crt and tls.key of the authority that signs them")  # fmt: skip
    parser.add_argument("--identity-namespace", default=os.environ.get("POD_NAMESPACE") or NAMESPACE, metavar="NAME",
                        help=f"where the proxies run (default: $POD_NAMESPACE, or {NAMESPACE})")  # fmt: skip
    parser.add_argument("--identity-service-account", default=ACCOUNT, metavar="NAME",
                        help=f"that the proxies run as (default {ACCOUNT})")  # fmt: skip


def options(flags: argparse.Namespace, settings: Config) -> IssuerOptions | None:
    if not flags.identity_listen:
        return None
    host, port = host_port("--identity-listen", flags.identity_listen)
    if settings.xds_tls is None or flags.identity_ca is None:
        raise ConfigError(
            "--identity-listen: goes with --identity-ca, and with --xds-tls-cert, --xds-tls-key and --xds-tls-client-ca"
        )
    if not flags.identity_ca.is_dir():
        raise ConfigError(f"--identity-ca {flags.identity_ca}: there is no such directory")
    return IssuerOptions(
        host=host,
        port=port,
        certificate=settings.xds_tls.certificate,
        key=settings.xds_tls.key,
        authority=flags.identity_ca,
        namespace=flags.identity_namespace,
        trust_domain=settings.trust_domain,
        account=flags.identity_service_account,
    )


@asynccontextmanager
async def issuer(found: IssuerOptions | None, kubeconfig: Path | None, context: str | None) -> AsyncIterator[None]:
    """Sign while the block runs, if that was asked for."""
    if found is None:
        yield
        return
    try:
        api = Api(await credentials(kubeconfig, context))
    except CredentialsError as error:
        raise ConfigError(f"--identity-listen: {error}") from None
    try:
        async with issuing(api, found) as port:
            log.info("signing certificates of proxies", host=found.host, port=port)
            yield
    except ListenError as error:
        raise ConfigError(f"--identity-listen: {error}") from None
    finally:
        await api.close()
