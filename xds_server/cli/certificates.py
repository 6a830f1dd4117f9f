"""`tidegate certificates`: the authority, the ADS server's certificate, and those of nodes and operators."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from xds_server.certificates import directory, kubernetes
from xds_server.certificates.authority import CertificateError, loaded
from xds_server.certificates.keeping import AUTHORITY, CERTIFICATE, Store, kept_authority, kept_client, kept_server
from xds_server.config import ConfigError, add_trust_domain, trust_domain
from xds_server.kube.client import Api, ApiError, CredentialsError, credentials
from xds_server.xds.identity import Node, Operator, Replica, is_node_name, is_operator_name, uri

NAMESPACE = "tidegate-system"
SERVICE = "tidegate-xds"


def add_flags(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--directory", type=Path, metavar="DIR", help="keep them as files, a folder for each")
    where.add_argument("--kubernetes", action="store_true", help="keep them as Secrets")
    parser.add_argument("--namespace", default=NAMESPACE, help=f"of the Secrets (default {NAMESPACE})")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="(default: the pod's service account)")
    parser.add_argument("--context", help="of the kubeconfig")
    parser.add_argument(
        "--host",
        dest="hosts",
        action="append",
        metavar="NAME",
        help=f"a name or address that the ADS server is dialled by (default: localhost, or the Service {SERVICE})",
    )
    parser.add_argument("--node", dest="nodes", action="append", default=[], metavar="NAME",
                        help="a client certificate for the proxy of this node (may be repeated)")  # fmt: skip
    parser.add_argument("--operator", dest="operators", action="append", default=[], metavar="NAME",
                        help="a client certificate for a person or a tool (may be repeated)")  # fmt: skip
    add_trust_domain(parser)


def run(flags: argparse.Namespace) -> int:
    clients = _clients(flags)
    now = datetime.now(UTC)
    try:
        if flags.kubernetes:
            asyncio.run(_in_kubernetes(flags, clients, now))
        else:
            _in_directory(flags, flags.hosts or ["localhost", "127.0.0.1", "::1"], clients, now)
    except (CertificateError, CredentialsError) as error:
        raise ConfigError(str(error)) from None
    except ApiError as error:
        print(f"the API server: {error}")
        return 1
    except OSError as error:
        raise ConfigError(f"{error.filename or flags.directory}: {error.strerror}") from None
    return 0


def _clients(flags: argparse.Namespace) -> dict[str, str]:
    """Identities by the name of their folder or Secret."""
    domain = trust_domain(flags.trust_domain)
    found = {}
    for name in flags.nodes:
        if not is_node_name(name):
            raise ConfigError(f"--node {name}: give the name of a node, in lower case")
        found[f"node-{name}"] = uri(domain, Node(name))
    for name in flags.operators:
        if not is_operator_name(name) or (flags.kubernetes and not is_node_name(name)):
            raise ConfigError(f"--operator {name}: give letters (in Kubernetes, of lower case), digits, '.' and '-'")
        found[f"operator-{name}"] = uri(domain, Operator(name))
    return found


def _replica(flags: argparse.Namespace) -> str:
    """By which the replicas of the control plane know each other."""
    return uri(trust_domain(flags.trust_domain), Replica(SERVICE))


def _in_directory(flags: argparse.Namespace, hosts: list[str], clients: dict[str, str], now: datetime) -> None:
    root: Path = flags.directory
    replica = _replica(flags)

    def kept(name: str, keep: Callable[[Store], Store]) -> Store:
        store = keep(directory.read(root / name))
        print(f"{root / name}: {'written' if directory.write(root / name, store) else 'unchanged'}")
        return store

    with directory.alone(root):
        authority = kept("ca", partial(kept_authority, now=now))
        kept("xds-server", partial(kept_server, authority=authority, hosts=hosts, uri=replica, now=now))
        for name, identity in clients.items():
            kept(name, partial(kept_client, authority=authority, uri=identity, now=now))


async def _in_kubernetes(flags: argparse.Namespace, clients: dict[str, str], now: datetime) -> None:
    namespace = flags.namespace
    inside = [SERVICE, f"{SERVICE}.{namespace}", f"{SERVICE}.{namespace}.svc"]
    hosts = [*inside, f"{SERVICE}.{namespace}.svc.cluster.local", *(flags.hosts or [])]
    api = Api(await credentials(flags.kubeconfig, flags.context))
    ends: dict[str, datetime] = {}
    try:

        async def kept(name: str, keep: Callable[[Store], Store]) -> Store:
            store, done = await kubernetes.kept_secret(api, namespace, name, keep)
            print(f"Secret {namespace}/{name}: {done}")
            ends[name] = loaded(store[CERTIFICATE]).not_valid_after_utc
            return store

        authority = await kept(kubernetes.AUTHORITY_NAME, partial(kept_authority, now=now))
        done = await kubernetes.kept_bundle(api, namespace, kubernetes.AUTHORITY_NAME, authority[AUTHORITY])
        print(f"ConfigMap {namespace}/{kubernetes.AUTHORITY_NAME}: {done}")
        server = partial(kept_server, authority=authority, hosts=hosts, uri=_replica(flags), now=now)
        await kept(kubernetes.SERVER_NAME, server)
        for name, identity in clients.items():
            await kept(f"tidegate-{name}", partial(kept_client, authority=authority, uri=identity, now=now))
        await kubernetes.kept_ends(api, namespace, kubernetes.AUTHORITY_NAME, ends)
    finally:
        await api.close()
