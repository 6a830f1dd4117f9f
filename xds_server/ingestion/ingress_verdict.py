"""What the author of an Ingress is told: conditions, as Gateway API words them, and warnings.

Kubernetes gives Ingresses no conditions; these are ours, and `tidegate check` prints them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xds_server.graph import Fetch
from xds_server.ingestion.ingress_plan import Fault, HostKey, IngressPlan, field_of
from xds_server.ingestion.ingress_routes import IngressRoutes
from xds_server.ingestion.ingress_tls import HostOwners, TlsHosts
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
    yield ref, Verdict(ref, plan.generation, tuple(conditions), frontend=plan.frontend)


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


def remarks(
    fetch: Fetch, tls_hosts: TlsHosts, owners: HostOwners, routes: IngressRoutes
) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
    """The warnings by object and field; several of one field are told as one."""
    plan = routes.plan
    by_field: dict[str, Remark] = {}
    found = [*routes.remarks, *tls_remarks(fetch, tls_hosts, owners, plan), *redirect_remarks(fetch, owners, plan)]
    for remark in found:
        before = by_field.get(remark.field)
        message = f"{before.message}; {remark.message}" if before else remark.message
        by_field[remark.field] = Remark(plan.ref, remark.field, message)
    return (((plan.ref, field), remark) for field, remark in by_field.items())


def tls_remarks(fetch: Fetch, tls_hosts: TlsHosts, owners: HostOwners, plan: IngressPlan) -> Iterator[Remark]:
    for tls in plan.tls:
        key = HostKey(plan.frontend, tls.host)
        host, owner = fetch.get(tls_hosts, key), fetch.get(owners, key)
        decider = host.owner if host is not None else owner.ref if owner is not None else plan.ref
        if decider != plan.ref:
            message = f"TLS of host {tls.host} is decided by {decider}, which is older"
            if owner is not None and not owner.decides(plan):
                message = f"TLS of host {tls.host} is decided by {owner.ref}, which is older and of another namespace"
            yield Remark(plan.ref, f"{tls.field}[{tls.host}]", message)


def redirect_remarks(fetch: Fetch, owners: HostOwners, plan: IngressPlan) -> Iterator[Remark]:
    asked = plan.annotations
    if asked.canary or not (asked.force_https or asked.force_https_without_tls):
        return
    for host in plan.hosts:
        owner = fetch.get(owners, HostKey(plan.frontend, host.host))
        if owner is not None and not owner.decides(plan):
            message = (
                f"redirects of host {host.host} are decided by {owner.ref}, which is older and of another namespace"
            )
            yield Remark(plan.ref, field_of(""), message)
