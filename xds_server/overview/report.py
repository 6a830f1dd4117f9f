"""The JSON form of an overview, which docs/cli.md promises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xds_server.overview.facts import CONTROLLER, Facts
from xds_server.overview.findings import Finding, fails
from xds_server.overview.objects import Condition, Pod
from xds_server.overview.replica import Stream


def report(facts: Facts, found: Iterable[Finding]) -> dict[str, Any]:
    replicas = facts.replicas.values()
    return {
        "installation": {
            "server": facts.server,
            "kubernetes": facts.kubernetes,
            "namespace": facts.namespace,
            "tidegate": sorted({replica.tidegate for replica in replicas}),
            "envoy": sorted({stream.envoy for replica in replicas for stream in replica.streams if stream.envoy}),
            "leader": facts.lease.spec.holder_identity if facts.lease else "",
            "features": sorted({feature for replica in replicas for feature in replica.features}),
        },
        "controllers": [_controller(facts, pod) for pod in facts.controllers],
        "proxies": [_proxy(facts, pod) for pod in facts.proxies],
        "kinds": [{"kind": k.kind, "group": k.group, "version": k.version} for k in facts.kinds],
        "gateways": [
            {
                "namespace": g.metadata.namespace,
                "name": g.metadata.name,
                "class": g.spec.gateway_class_name,
                "addresses": [address.value for address in g.status.addresses],
                "conditions": _summed(g.status.conditions),
            }
            for g in facts.our_gateways
        ],
        "ingresses": [
            {
                "namespace": i.metadata.namespace,
                "name": i.metadata.name,
                "class": i.spec.ingress_class_name,
                "addresses": list(i.addresses),
            }
            for i in facts.our_ingresses
        ],
        "routes": [_routes(kind, facts) for kind in sorted(facts.routes)],
        "pools": [
            {
                "kind": kind,
                "name": pool.metadata.name,
                "total": pool.number("IPsTotal"),
                "available": pool.number("IPsAvailable"),
                "used": pool.number("IPsUsed"),
            }
            for kind, each in sorted(facts.pools.items())
            for pool in each
        ],
        "certificates": {secret: until.isoformat() for secret, until in sorted(facts.ends.items())},
        "findings": [finding._asdict() for finding in found],
    }


def _pod(pod: Pod) -> dict[str, Any]:
    return {
        "pod": pod.metadata.name,
        "node": pod.spec.node_name,
        "ready": pod.ready,
        "version": pod.version,
        "since": pod.since,
        "restarts": pod.restarts,
    }


def _controller(facts: Facts, pod: Pod) -> dict[str, Any]:
    replica = facts.replicas.get(pod.metadata.name)
    kind, age_s = max((replica.ages if replica else {}).items(), key=lambda entry: entry[1], default=("", None))
    return {
        **_pod(pod),
        "leads": bool(facts.lease and facts.lease.spec.holder_identity == pod.metadata.name),
        "resources": replica.resources if replica else None,
        "digest": replica.digest if replica else "",
        "waiting_statuses": replica.waiting_statuses if replica else None,
        "oldest_source": {"kind": kind, "age_s": age_s},
        "certificates": {what: until.isoformat() for what, until in (replica.certificates if replica else {}).items()},
    }


def _proxy(facts: Facts, pod: Pod) -> dict[str, Any]:
    streams = [
        (name, stream)
        for name, replica in sorted(facts.replicas.items())
        for stream in replica.streams
        if stream.node == pod.spec.node_name
    ]
    return {
        **_pod(pod),
        # The daemon of a node has a stream too.
        "envoy": next((stream.envoy for _, stream in streams if stream.envoy), ""),
        "streams": [_stream(name, stream) for name, stream in streams],
    }


def _stream(replica: str, stream: Stream) -> dict[str, Any]:
    return {
        "replica": replica,
        "connected_s": round(stream.connected_s, 1),
        "types": {
            type_url.rpartition(".")[2]: {
                "wanted": of.wanted,
                "refused": of.refused,
                "settled": of.settled,
                "last_ack_s": of.accepted_s,
                "last_nack_s": of.rejected_s,
            }
            for type_url, of in sorted(stream.types.items())
        },
    }


def _summed(conditions: Iterable[Condition]) -> dict[str, str]:
    return {c.type: c.status if c.status == "True" else f"{c.status} ({c.reason})" for c in conditions}


def _routes(kind: str, facts: Facts) -> dict[str, Any]:
    """How many there are, and how many have all that a condition of ours can say."""
    ours = [[p for p in route.status.parents if p.controller_name == CONTROLLER] for route in facts.routes[kind]]
    fine = [told for told in ours if told and not any(fails(c) for p in told for c in p.conditions)]
    return {"kind": kind, "objects": len(ours), "attached": sum(map(bool, ours)), "without_fault": len(fine)}
