"""TLS of Ingress hosts: who decides it, with which certificates, and the listeners that follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xds_server.graph import Collection, Fetch, Index, NotYet
from xds_server.ingestion.ingress_owner import HostOwner
from xds_server.ingestion.ingress_plan import HostKey, IngressPlan
from xds_server.ingestion.ingress_routes import IngressRoutes
from xds_server.model.backend import Certificate, InvalidCertificate
from xds_server.model.listener import Listener, TlsTermination
from xds_server.model.refs import HostRef, ListenerRef, ObjectRef, TableRef
from xds_server.model.route import TlsRoute

HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class TlsHost:
    """Who decides the TLS of a host, and how; `problems` are those of its Secrets."""

    key: HostKey
    owner: ObjectRef
    passthrough: bool
    certificates: tuple[ObjectRef, ...]
    problems: tuple[str, ...]

    @property
    def terminates(self) -> bool:
        return bool(self.certificates)

    @property
    def table(self) -> TableRef:
        return TableRef(self.key.frontend, HTTPS_PORT, self.key.host)


Certificates = Collection[ObjectRef, Certificate | InvalidCertificate]
TlsHosts = Collection[HostKey, TlsHost]
HostOwners = Collection[HostKey, HostOwner]


def tls_keys(plan: IngressPlan) -> Iterator[HostKey]:
    return (HostKey(plan.frontend, tls.host) for tls in plan.tls)


def secrets(plan: IngressPlan) -> Iterator[ObjectRef]:
    return (secret for tls in plan.tls for secret in tls.secrets)


def tls_host(
    fetch: Fetch, certificates: Certificates, owners: HostOwners, key: HostKey, plans: Sequence[IngressPlan]
) -> Iterator[tuple[HostKey, TlsHost]]:
    """The oldest Ingress of the namespace that owns the host decides, even when its Secret is missing.

    Nobody else does, even where the owner has no TLS: a younger one must not take the host over (S3).
    """
    host = fetch.get(owners, key)
    own = [plan for plan in plans if host is not None and host.decides(plan)]
    if not own:
        return
    owner = min(own, key=lambda plan: plan.age)
    tls = next(tls for tls in owner.tls if tls.host == key.host)
    usable, problems = [], []
    for secret in tls.secrets:
        found = fetch.get(certificates, secret)
        if isinstance(found, Certificate):
            usable.append(secret)
        elif found is not None and found.unread:
            raise NotYet
        else:
            problems.append(f"{tls.field}: {secret}: {found.message if found else 'could not be checked'}")
    yield key, TlsHost(key, owner.ref, tls.passthrough, tuple(usable), tuple(problems))


def covering(key: HostKey) -> Iterator[HostKey]:
    """The keys under which a host's TLS may be decided, in the order in which Envoy prefers them."""
    yield key
    labels = key.host.removeprefix("*.").split(".")
    for start in range(1, len(labels)):
        yield HostKey(key.frontend, "*." + ".".join(labels[start:]))
    if key.host != "*":
        yield HostKey(key.frontend, "*")


def deciding(fetch: Fetch, tls_hosts: TlsHosts, key: HostKey) -> TlsHost | None:
    """The TLS host that takes a host's connections: an exact one, else the longest wildcard, else that of all hosts."""
    return next((found for each in covering(key) if (found := fetch.get(tls_hosts, each)) is not None), None)


def http_listener(frontend: ObjectRef) -> Iterator[tuple[ListenerRef, Listener]]:
    ref = ListenerRef(frontend, "http")
    yield ref, Listener(ref, frontend, HTTP_PORT, "HTTP", "*")


def tls_listener(
    fetch: Fetch, covered: Index[HostKey, HostKey, TlsHost], host: TlsHost
) -> Iterator[tuple[ListenerRef, Listener]]:
    """The listener of a TLS host; none when it has no certificate, so that HTTPS is not served."""
    frontend, name = host.key
    if host.passthrough:
        ref = ListenerRef(frontend, f"tls/{name}")
        yield ref, Listener(ref, frontend, HTTPS_PORT, "TLS", name)
    if not host.terminates:
        return
    # A host that has TLS of its own, even one that is not served, is never answered by a wildcard that covers it (S8).
    others = tuple(other.key.host for other in fetch.by(covered, host.key)) if name.startswith("*") else ()
    ref = ListenerRef(frontend, f"https/{name}")
    yield ref, Listener(ref, frontend, HTTPS_PORT, "HTTPS", name, TlsTermination(host.certificates), others)


def tls_route(
    fetch: Fetch, routes: Collection[ObjectRef, IngressRoutes], host: TlsHost
) -> Iterator[tuple[HostRef, TlsRoute]]:
    """Where the bytes of a passed-through host go; without a usable backend its connections are closed."""
    owner = fetch.get(routes, host.owner) if host.passthrough else None
    for name, source, share in owner.passthrough if owner else ():
        if name == host.key.host:
            ref = HostRef(host.table, name)
            yield ref, TlsRoute(ref, source, (share,) if share.cluster else ())
