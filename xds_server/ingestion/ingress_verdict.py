"""What the author of an Ingress is told: conditions, as Gateway API words them, and warnings.

Kubernetes gives Ingresses no conditions; these are ours, and `tidegate check` prints them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xds_server.graph import Fetch
from xds_server.ingestion.ingress_plan import Fault, HostKey
from xds_server.ingestion.ingress_routes import IngressRoutes
from xds_server.ingestion.ingress_tls import TlsHosts
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Condition, Verdict, VerdictRef
from xds_server.model.verdict import Warning as Remark

MOST_MESSAGES: Final = 8
"""So many faults are told in one condition; the others are counted."""


def verdict(fetch: Fetch, tls_hosts: TlsHosts, routes: IngressRoutes) -> Iterator[tuple[VerdictRef, Verdict]]:
    plan = routes.plan
    faults = [*routes.faults, *tls_faults(fetch, tls_hosts, routes)]
    conditions = [
        condition("Accepted", faults) or Condition("Accepted", "True", "Accepted"),
        condition("ResolvedRefs", faults) or Condition("ResolvedRefs", "True", "ResolvedRefs"),
    ]
    invalid = condition("PartiallyInvalid", faults)
    if invalid is not None:
        conditions.append(invalid)
    ref = VerdictRef(plan.ref)
    yield ref, Verdict(ref, plan.generation, tuple(conditions))


def condition(type_: str, faults: list[Fault]) -> Condition | None:
    """The condition that tells the faults of its type; None when there are none."""
    own = [fault for fault in faults if fault.condition == type_]
    if not own:
        return None
    told = "; ".join(dict.fromkeys(fault.message for fault in own[:MOST_MESSAGES]))
    more = f"; and {len(own) - MOST_MESSAGES} more" if len(own) > MOST_MESSAGES else ""
    # `PartiallyInvalid` is true when something is wrong, the others are false.
    return Condition(type_, "True" if type_ == "PartiallyInvalid" else "False", own[0].reason, told + more)


def tls_faults(fetch: Fetch, tls_hosts: TlsHosts, routes: IngressRoutes) -> Iterator[Fault]:
    plan = routes.plan
    for tls in plan.tls:
        host = fetch.get(tls_hosts, HostKey(plan.frontend, tls.host))
        if host is None or host.owner != plan.ref:
            continue
        for problem in host.problems:
            served = "" if host.terminates else f"; HTTPS is not served for {tls.host}"
            yield Fault("ResolvedRefs", "InvalidCertificateRef", problem + served)


def remarks(fetch: Fetch, tls_hosts: TlsHosts, routes: IngressRoutes) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
    """The warnings by object and field; several of one field are told as one."""
    plan = routes.plan
    by_field: dict[str, Remark] = {}
    found = [*routes.remarks]
    for tls in plan.tls:
        host = fetch.get(tls_hosts, HostKey(plan.frontend, tls.host))
        if host is not None and host.owner != plan.ref:
            message = f"TLS of host {tls.host} is decided by {host.owner}, which is older"
            found.append(Remark(plan.ref, f"{tls.field}[{tls.host}]", message))
    for remark in found:
        before = by_field.get(remark.field)
        message = f"{before.message}; {remark.message}" if before else remark.message
        by_field[remark.field] = Remark(plan.ref, remark.field, message)
    return (((plan.ref, field), remark) for field, remark in by_field.items())
