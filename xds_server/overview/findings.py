"""What is wrong with an installation, and what to do: from facts, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from xds_server.overview.facts import CONTROLLER, Facts
from xds_server.overview.objects import Condition, Metadata, Pod

Severity = Literal["error", "warning", "unknown"]

CERTIFICATE_LEFT: Final = timedelta(days=7)
SILENT_S: Final = 300.0
"""A source that is well hears of every kind within half of this."""
UNSETTLED_S: Final = 30.0

_BAD_WHEN_TRUE: Final = frozenset({"Conflicted", "PartiallyInvalid", "PoolConflict"})
_JUDGED: Final = frozenset({"Accepted", "Programmed", "ResolvedRefs"}) | _BAD_WHEN_TRUE
_POOL: Final = "LoadBalancerIPPool"
_GATEWAY_API: Final = "gateway.networking.k8s.io"


class Finding(NamedTuple):
    """`object` is KIND/NAMESPACE/NAME, `field` may be empty. Of an `unknown` nothing could be learned."""

    severity: Severity
    object: str
    field: str
    message: str
    way_out: str


Found = Iterator[Finding]


def findings(facts: Facts) -> list[Finding]:
    """The worst first, and otherwise from what everything needs to what one object needs."""
    order = {"error": 0, "warning": 1, "unknown": 2}
    return sorted((found for judge in _JUDGES for found in judge(facts)), key=lambda found: order[found.severity])


def unreadable(facts: Facts) -> Found:
    for what, why in sorted(facts.unread.items()):
        way = "bind a role that lets this user read it" if why.startswith("403 ") else "see that it runs and answers"
        yield Finding("unknown", what, "", f"cannot be read: {why}", f"{way}; nothing is concluded from it")


def installed(facts: Facts) -> Found:
    if facts.deployment is None and "Deployment" not in facts.unread:
        yield Finding(
            "error",
            f"Deployment/{facts.namespace}/tidegate-controller",
            "",
            "is not there",
            "install by `helm install tidegate deploy/chart`, or name its namespace by --namespace",
        )


def kinds_served(facts: Facts) -> Found:
    """Kinds of Cilium's are optional, and so is all of Gateway API where only Ingresses are used."""
    ours = [kind for kind in facts.kinds if kind.group in {_GATEWAY_API, "tidegate.dev"}]
    for kind in ours:
        if kind.version:
            continue
        about = f"CustomResourceDefinition/{kind.plural}.{kind.group}"
        from_ = "Gateway API's release" if kind.group == _GATEWAY_API else "deploy/chart/crds"
        if kind.served:
            message = f"has versions {', '.join(kind.served)}, and Tidegate reads {', '.join(kind.reads)}"
            yield Finding(
                "error", about, "spec.versions", message, f"install the CRD of a version that is read, {from_}"
            )
        elif kind.group == _GATEWAY_API:
            message = f"is not installed: no {kind.kind} is served"
            yield Finding("warning", about, "", message, f"kubectl apply --server-side the CRDs of {from_}")
        else:
            kept = ": addresses stay with who has them while the control plane runs" if kind.kind == _POOL else ""
            yield Finding("error", about, "", f"is not installed{kept}", f"kubectl apply --server-side -f {from_}")


def workloads(facts: Facts) -> Found:
    if facts.deployment is not None:
        ready, wanted = sum(pod.ready for pod in facts.controllers), facts.deployment.spec.replicas
        if ready < wanted:
            severity: Severity = "warning" if ready else "error"
            about = f"Deployment/{facts.namespace}/tidegate-controller"
            message = f"{ready} of {wanted} replicas are ready"
            yield Finding(severity, about, "spec.replicas", message, "see the pods below, and their events")
    for pod, container in ((pod, "controller") for pod in facts.controllers):
        yield from _unready(facts, pod, container)
    for pod in facts.proxies:
        yield from _unready(facts, pod, pod.metadata.labels.get("app.kubernetes.io/component", "proxy"))
    for name, replica in sorted(facts.replicas.items()):
        if replica.awaited:
            way = "see that the API server answers it, and its log"
            yield Finding("error", f"Pod/{facts.namespace}/{name}", "", f"serves nothing yet: {replica.awaited}", way)


def _unready(facts: Facts, pod: Pod, container: str) -> Found:
    if pod.ready or pod.metadata.deletion_timestamp:
        return
    trouble = next((t for c in pod.status.container_statuses if (t := c.state.trouble)), "")
    message = f"is not ready on {pod.spec.node_name or 'no node'}" + (f": {trouble}" if trouble else "")
    way = f"kubectl -n {facts.namespace} describe pod {pod.metadata.name}; logs of container {container}"
    yield Finding("error", f"Pod/{facts.namespace}/{pod.metadata.name}", "", message, way)


def nodes_without_proxy(facts: Facts) -> Found:
    if facts.daemon_set is None or "Node" in facts.unread:
        return
    for node in sorted(set(facts.nodes) - {pod.spec.node_name for pod in facts.proxies}):
        way = "if it is to serve, see nodeSelector and tolerations of proxy, or of datapath, in the chart's values"
        yield Finding("warning", f"Node/{node}", "", "runs no proxy: addresses are not served there", way)


def leader(facts: Facts) -> Found:
    if "Lease" in facts.unread or not any(pod.ready for pod in facts.controllers):
        return
    about = f"Lease/{facts.namespace}/tidegate-controller"
    way = "see the right to leases (ClusterRole and Role tidegate-controller) and the replicas' logs"
    if facts.lease is None or not facts.lease.spec.holder_identity:
        yield Finding("error", about, "spec.holderIdentity", "nobody leads: no status is written", way)
        return
    spec = facts.lease.spec
    if spec.holder_identity not in {pod.metadata.name for pod in facts.controllers}:
        message = f"{spec.holder_identity} leads, which is no replica of this installation"
        way = "end what else runs `tidegate serve` on this cluster, or wait until its Lease has run out"
        yield Finding("warning", about, "spec.holderIdentity", message, way)
    renewed = _time(spec.renew_time)
    late = timedelta(seconds=2 * spec.lease_duration_seconds)
    if renewed is not None and facts.now - renewed > late:
        message = f"{spec.holder_identity} has not renewed it since {spec.renew_time}: no status is written"
        yield Finding("error", about, "spec.renewTime", message, way)


def connections(facts: Facts) -> Found:
    """Only where every replica was asked: a proxy is at one of them."""
    if not facts.all_replicas_read:
        return
    connected = {stream.node for replica in facts.replicas.values() for stream in replica.streams}
    for pod in facts.proxies:
        if pod.spec.node_name and pod.spec.node_name not in connected and not pod.metadata.deletion_timestamp:
            message = f"the proxy of {pod.spec.node_name} is connected to no replica: it serves what it had last"
            way = f"see its log, and that {pod.spec.node_name} reaches Service tidegate-xds at 15010 and 15011"
            yield Finding("error", f"Pod/{facts.namespace}/{pod.metadata.name}", "", message, way)


def acceptance(facts: Facts) -> Found:
    for name, replica in sorted(facts.replicas.items()):
        for stream in replica.streams:
            about = f"Node/{stream.node}"
            for type_url, of in sorted(stream.types.items()):
                short = type_url.rpartition(".")[2]
                if of.refused:
                    message = f"its Envoy refuses {of.refused} of {of.wanted} of type {short}, and keeps what it had"
                    way = f"the Programmed condition of the Gateway, or the log of pod {name}, says which and why"
                    yield Finding("error", about, short, message, way)
                elif not of.settled and (of.accepted_s or 0) > UNSETTLED_S and stream.connected_s > UNSETTLED_S:
                    message = f"its Envoy has not answered what it was sent of type {short}"
                    yield Finding(
                        "warning", about, short, message, "see the log of its proxy, and whether it is overloaded"
                    )


def agreement(facts: Facts) -> Found:
    about = f"Deployment/{facts.namespace}/tidegate-controller"
    ready = {name: replica for name, replica in facts.replicas.items() if not replica.awaited}
    if len({replica.digest for replica in ready.values()}) > 1:
        told = ", ".join(f"{name} {replica.digest}" for name, replica in sorted(ready.items()))
        way = "ask again in a moment; if they stay apart, compare the age of their sources and restart the older"
        yield Finding("error", about, "", f"replicas serve different resources: {told}", way)
    if len(versions := {replica.tidegate for replica in facts.replicas.values()}) > 1:
        message = f"replicas are of versions {', '.join(sorted(versions))}"
        yield Finding("warning", about, "", message, "a rollout is under way; if not, see why one does not end")


def certificates(facts: Facts) -> Found:
    """Those of replicas as they have them, those of people and tools as their Secrets have them."""
    about = {"server": "tidegate-xds-server", "authority": "tidegate-ca"}
    for name, until in sorted(facts.ends.items()):
        if name not in about.values() and until - facts.now <= CERTIFICATE_LEFT:
            secret = f"Secret/{facts.namespace}/{name}"
            way = "see why CronJob tidegate-certificates has not renewed it; then copies of it are to be taken anew"
            yield Finding("warning", secret, "data[tls.crt]", _ends(until, facts.now), way)
    for name, replica in sorted(facts.replicas.items()):
        for what, until in sorted(replica.certificates.items()):
            left = until - facts.now
            if left > CERTIFICATE_LEFT:
                continue
            secret = f"Secret/{facts.namespace}/{about.get(what, what)}"
            said = _ends(until, facts.now)
            way = "see why CronJob tidegate-certificates, or cert-manager, has not renewed it"
            severity: Severity = "error" if left <= timedelta(days=1) else "warning"
            yield Finding(severity, secret, "data[tls.crt]", f"as pod {name} has it, {said}", way)


def _ends(until: datetime, now: datetime) -> str:
    return f"{'expired' if until <= now else 'expires'} at {until:%Y-%m-%dT%H:%MZ}"


def sources(facts: Facts) -> Found:
    for name, replica in sorted(facts.replicas.items()):
        about = f"Pod/{facts.namespace}/{name}"
        kind, age_s = max(replica.ages.items(), key=lambda entry: entry[1], default=("", 0.0))
        if age_s > SILENT_S:
            message = f"has not heard of {kind} for {age_s:.0f} s: it serves what it knew then"
            yield Finding(
                "error", about, "", message, "see that the API server is up and answers it; its log says more"
            )
        for kind, number in sorted(replica.undecodable.items()):
            if number:
                message = f"cannot read {number} objects of kind {kind}, and keeps their last good version"
                yield Finding("warning", about, kind, message, "`tidegate check --kubernetes` names them and the field")


def classes(facts: Facts) -> Found:
    if (
        not facts.our_gateway_classes
        and not facts.our_ingress_classes
        and not {
            "GatewayClass",
            "IngressClass",
        }
        & set(facts.unread)
    ):
        message = f"no GatewayClass or IngressClass names {CONTROLLER}: nothing is served"
        way = "gatewayClass.create or ingressClass.create of the chart, or make one with that controller"
        yield Finding("error", "GatewayClass", "spec.controllerName", message, way)
    for found in facts.gateway_classes:
        if found.metadata.name in facts.our_gateway_classes:
            about = f"GatewayClass/{found.metadata.name}"
            yield from _conditions(facts, about, found.metadata, found.status.conditions, "")
    known = {found.metadata.name for found in facts.gateway_classes}
    for gateway in facts.gateways:
        if gateway.spec.gateway_class_name not in known and "GatewayClass" not in facts.unread:
            message = f"there is no GatewayClass {gateway.spec.gateway_class_name}: nobody serves it"
            way = f"name one that there is: {', '.join(sorted(known)) or 'none yet'}"
            yield Finding("warning", _about("Gateway", gateway.metadata), "spec.gatewayClassName", message, way)


def pools(facts: Facts) -> Found:
    found = [(kind, pool) for kind, each in sorted(facts.pools.items()) for pool in each]
    homeless = [_about("Gateway", g.metadata) for g in facts.our_gateways if not g.status.addresses]
    homeless += [_about("Ingress", i.metadata) for i in facts.our_ingresses if not i.addresses]
    if homeless and not any(not pool.spec.disabled for _, pool in found) and not set(facts.pools) & set(facts.unread):
        message = f"no pool gives addresses, and {len(homeless)} want one: {', '.join(sorted(homeless)[:3])}"
        way = "make a LoadBalancerIPPool, or GatewayParameters of another exposure (docs/addresses.md)"
        yield Finding("error", "LoadBalancerIPPool", "spec.blocks", message, way)
    for kind, pool in found:
        about = f"{kind}/{pool.metadata.name}"
        yield from _conditions(facts, about, pool.metadata, pool.status.conditions, "")
        if pool.number("IPsAvailable") == 0 and not pool.spec.disabled:
            message = f"has no free address of {pool.number('IPsTotal')}"
            yield Finding("warning", about, "spec.blocks", message, "give it more blocks, or make another pool")


def gateways(facts: Facts) -> Found:
    for gateway in facts.our_gateways:
        about, status = _about("Gateway", gateway.metadata), gateway.status
        yield from _conditions(facts, about, gateway.metadata, status.conditions, "")
        whole = {(c.type, c.message) for c in status.conditions if fails(c)}
        for listener in status.listeners:
            own = [c for c in listener.conditions if (c.type, c.message) not in whole]
            yield from _conditions(facts, about, gateway.metadata, own, f"spec.listeners[{listener.name}]", told=True)
    for ingress in facts.our_ingresses:
        if not ingress.addresses and any(not pool.spec.disabled for each in facts.pools.values() for pool in each):
            way = "`tidegate check --kubernetes` says why; is there a free address in a pool that selects it?"
            yield Finding("error", _about("Ingress", ingress.metadata), "status", "has no address", way)


def routes(facts: Facts) -> Found:
    ours = {(g.metadata.namespace, g.metadata.name) for g in facts.our_gateways}
    for kind, found in sorted(facts.routes.items()):
        for route in found:
            about = _about(kind, route.metadata)
            told = [parent for parent in route.status.parents if parent.controller_name == CONTROLLER]
            for parent in told:
                at = f"spec.parentRefs[{parent.parent_ref.name}]"
                yield from _conditions(facts, about, route.metadata, parent.conditions, at)
            named = {
                (ref.namespace or route.metadata.namespace, ref.name)
                for ref in route.spec.parent_refs
                if ref.kind == "Gateway"
            }
            if not told and named & ours:
                yield _unwritten(about, "status.parents")


def statuses(facts: Facts) -> Found:
    for name, replica in sorted(facts.replicas.items()):
        if replica.leads and replica.waiting_statuses > 1000:
            message = f"{replica.waiting_statuses} statuses wait to be written"
            way = "see whether the API server answers slowly, and tidegate_status_writes by result"
            yield Finding("warning", f"Pod/{facts.namespace}/{name}", "", message, way)


def _conditions(
    facts: Facts, about: str, metadata: Metadata, found: Iterable[Condition], at: str, *, told: bool = False
) -> Found:
    """What conditions say is wrong, and that there are none; `told`: that there are is said elsewhere."""
    judged = [c for c in found if c.type.removeprefix("cilium.io/") in _JUDGED]
    if told:
        judged = [c for c in judged if not (c.type == "Programmed" and c.status != "True")]
    elif not judged or min(c.observed_generation for c in judged) < metadata.generation:
        if any(pod.ready for pod in facts.controllers):
            yield _unwritten(about, "status.conditions")
        return
    for condition in judged:
        if fails(condition):
            pending = condition.reason == "Pending"
            text = f"{condition.type} is {condition.status} ({condition.reason}): {condition.message}".removesuffix(
                ": "
            )
            way = "wait for the proxies that it names, and see that they are ready" if pending else _WAYS.get(
                condition.reason, "correct what the message names; docs/gateway-api.md has each reason"
            )  # fmt: skip
            yield Finding("warning" if pending else "error", about, at or "status.conditions", text[:1000], way)


_WAYS: Final = {
    "AddressNotAssigned": "make a LoadBalancerIPPool that selects it, or name an address of one",
    "AddressNotUsable": "name another address, or free it (docs/addresses.md)",
    "RefNotPermitted": "make a ReferenceGrant in the namespace that is referred to",
    "BackendNotFound": "make the Service, or name another",
    "NotAllowedByListeners": "see allowedRoutes of the Gateway's listeners",
    "NoMatchingListenerHostname": "name a hostname that a listener has",
    "InvalidCertificateRef": "make the Secret, of type kubernetes.io/tls",
}


def fails(condition: Condition) -> bool:
    """Whether it says that something is not served as written."""
    kind = condition.type.removeprefix("cilium.io/")
    if kind not in _JUDGED:
        return False
    return (condition.status == "True") if kind in _BAD_WHEN_TRUE else (condition.status != "True")


def _unwritten(about: str, at: str) -> Finding:
    way = "ask again in a moment; if it stays so, see who leads, and tidegate_status_writes by result"
    return Finding("warning", about, at, "nothing is written of its newest generation", way)


def _about(kind: str, metadata: Metadata) -> str:
    return f"{kind}/{metadata.namespace}/{metadata.name}"


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


_JUDGES: Final[tuple[Callable[[Facts], Found], ...]] = (
    installed,
    kinds_served,
    workloads,
    nodes_without_proxy,
    leader,
    connections,
    acceptance,
    agreement,
    certificates,
    sources,
    classes,
    pools,
    gateways,
    routes,
    statuses,
    unreadable,
)
