"""Which node says on its links that it has an address: by policies, and by who holds the address now.

An address is announced by one node at a time. Who holds it is decided outside of here, among those that may.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

from xds_server.graph import Collection, Fetch, Graph, Group
from xds_server.ingestion.addresses import Given
from xds_server.ingestion.attachment import selects
from xds_server.ingestion.sources import Sources
from xds_server.ingestion.values import regex_problem, shown
from xds_server.model.interception import Announced
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.core import Node
from xds_server.objects.meta import Labels, LabelSelector
from xds_server.objects.tidegate import L2AnnouncementPolicy

HOSTNAME = "kubernetes.io/hostname"


class Rule(NamedTuple):
    """A policy as far as one frontend is concerned: on which nodes, and on which of their links."""

    nodes: LabelSelector | None
    interfaces: tuple[str, ...]


class Wanted(NamedTuple):
    """An address that is to be announced, for one frontend that has it."""

    address: str
    rules: tuple[Rule, ...]


Announceable = Collection[tuple[str, ObjectRef], Wanted]


def declare_announceable(graph: Graph, sources: Sources, given: Collection[ObjectRef, Given]) -> Announceable:
    """Addresses from pools; the nodes' own, and those of a load balancer, are somebody else's to announce."""
    policies = sources.announcement_policies.index(lambda _: ("all",))

    def wanted(fetch: Fetch, ref: ObjectRef, found: Given) -> Iterator[tuple[tuple[str, ObjectRef], Wanted]]:
        if found.wanted.exposure.type != "Address" or found.frontend.unusable:
            return
        rules = tuple(
            Rule(policy.spec.node_selector, _usable(policy.spec.interfaces))
            for policy in fetch.by(policies, "all")
            if policy.spec.load_balancer_ips
            and _is_of(policy, found.wanted.labels)
            and (not policy.spec.interfaces or _usable(policy.spec.interfaces))
        )
        if rules:
            for address in found.frontend.addresses:
                yield (address, ref), Wanted(address, rules)

    return graph.derive("announceable", given, wanted)


def declare_announced(
    graph: Graph, sources: Sources, announceable: Announceable
) -> Collection[tuple[str, str], Announced]:
    """By node and address."""
    by_address = announceable.index(lambda wanted: (wanted.address,))

    def announced(fetch: Fetch, address: str, wanted: Group[Wanted]) -> Iterator[tuple[tuple[str, str], Announced]]:
        node = fetch.get(sources.holders, address)
        if node is None:
            return
        labels = node_labels(fetch.get(sources.cluster_nodes, ObjectRef("Node", "", node)), node)
        patterns = [rule.interfaces for each in wanted for rule in each.rules if _selects(rule, labels)]
        if patterns:  # one without patterns is for all links
            interfaces = () if () in patterns else tuple(sorted({each for some in patterns for each in some}))
            yield (node, address), Announced(node, address, interfaces)

    return graph.derive("announced", by_address, announced)


def declare_policy_warnings(graph: Graph, sources: Sources) -> Collection[tuple[ObjectRef, str], Remark]:
    """A policy has no condition."""

    def of_policy(
        _: Fetch, ref: ObjectRef, policy: L2AnnouncementPolicy
    ) -> Iterator[tuple[tuple[ObjectRef, str], Remark]]:
        for at, pattern in enumerate(policy.spec.interfaces):
            if problem := regex_problem(pattern):
                field = f"spec.interfaces[{at}]"
                text = f"{field}: {shown(pattern)} {problem}; no link is found by it: correct it"
                yield (ref, field), Remark(ref, field, text)

    return graph.derive("warnings/announcement_policies", sources.announcement_policies, of_policy)


def node_labels(node: Node | None, name: str) -> Labels:
    """Of a node that no object is known of, its name alone."""
    return {HOSTNAME: name} if node is None else node.metadata.labels


def may_hold(wanted: Wanted, labels: Labels) -> bool:
    return any(_selects(rule, labels) for rule in wanted.rules)


def holders(held: Mapping[str, str], candidates: Mapping[str, Some[str]], *, settled: bool) -> dict[str, str]:
    """Address -> its node, for `candidates` that are there or were a moment ago, by address.

    Who holds an address keeps it: a move costs the connections that are open. Until everybody has had the time to say
    what it holds (`settled`), nobody is given anything.
    """
    found = {}
    for address, nodes in candidates.items():
        holder = held.get(address)
        if holder is not None and holder in nodes:
            found[address] = holder
        elif settled and nodes:
            found[address] = max(nodes, key=lambda node: blake2b(f"{address}\0{node}".encode(), digest_size=8).digest())
    return found


def _usable(interfaces: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(pattern for pattern in interfaces if not regex_problem(pattern))


def _is_of(policy: L2AnnouncementPolicy, labels: Labels) -> bool:
    selector = policy.spec.service_selector
    return selector is None or selects(selector, labels)


def _selects(rule: Rule, labels: Labels) -> bool:
    return rule.nodes is None or selects(rule.nodes, labels)
