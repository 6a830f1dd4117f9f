from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.announcements import holders, may_hold, node_labels
from xds_server.model.interception import Announced
from xds_server.model.refs import ObjectRef

DATAPATH = replace(DIRECTORY, datapath=True)
POOL = """
apiVersion: tidegate.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: lab}
spec: {blocks: [{cidr: 192.0.2.8/32}]}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default, labels: {team: a}}
spec: {gatewayClassName: tidegate, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def policy(spec: str, name: str = "all", kind: str = "L2AnnouncementPolicy") -> str:
    group = "cilium.io/v2alpha1" if kind.startswith("Cilium") else "tidegate.dev/v1alpha1"
    return f"""
apiVersion: {group}
kind: {kind}
metadata: {{name: {name}}}
spec: {{{spec}}}
"""


def node(name: str, labels: str) -> str:
    return f"""
apiVersion: v1
kind: Node
metadata: {{name: {name}, labels: {{{labels}}}}}
"""


def world(*objects: str, holder: str = "a") -> World:
    found = World(POOL, GATEWAY, *objects, settings=DATAPATH)
    found.sources.holders.put("192.0.2.8", holder)
    found.graph.commit()
    return found


def announced(found: World) -> list[Announced]:
    return list(found.ingested.announced.values())


def test_without_a_policy_nothing_is_announced() -> None:
    """As with Cilium: that an address is given says nothing about links."""
    assert [] == announced(world())


@pytest.mark.parametrize("kind", ["L2AnnouncementPolicy", "CiliumL2AnnouncementPolicy"])
def test_the_holder_announces_an_address(kind: str) -> None:
    """On the links that the policy names."""
    found = world(policy("loadBalancerIPs: true, interfaces: [^eth1$]", kind=kind))

    assert [Announced("a", "192.0.2.8", ("^eth1$",))] == announced(found)


@pytest.mark.parametrize(
    "spec",
    [
        "externalIPs: true",
        "loadBalancerIPs: false",
        "loadBalancerIPs: true, serviceSelector: {matchLabels: {team: b}}",
        "loadBalancerIPs: true, nodeSelector: {matchLabels: {rack: r2}}",
    ],
    ids=["other addresses", "none", "other Gateways", "other nodes"],
)
def test_a_policy_for_others_announces_nothing(spec: str) -> None:
    """What a policy does not select is not announced by it."""
    assert [] == announced(world(policy(spec), node("a", "rack: r1")))
    assert [Announced("a", "192.0.2.8")] == announced(world(policy("loadBalancerIPs: true"), node("a", "rack: r1")))


def test_policies_add_up() -> None:
    """A link that any of them names is used; one that names none is for all links."""
    some = policy("loadBalancerIPs: true, interfaces: [eth1]"), policy("loadBalancerIPs: true, interfaces: [eth0]", "b")

    assert [Announced("a", "192.0.2.8", ("eth0", "eth1"))] == announced(world(*some))
    assert [Announced("a", "192.0.2.8")] == announced(world(*some, policy("loadBalancerIPs: true", "c")))


def test_an_address_without_a_holder_is_announced_by_nobody() -> None:
    """Until somebody is decided on."""
    found = World(POOL, GATEWAY, policy("loadBalancerIPs: true"), settings=DATAPATH)

    assert [] == announced(found)
    assert [("192.0.2.8", ObjectRef("Gateway", "default", "web"))] == list(found.ingested.announceable)


def test_a_pattern_that_is_none_finds_no_link() -> None:
    """It is told; the others of the policy hold, and a policy without any other is not for all links."""
    some = world(policy('loadBalancerIPs: true, interfaces: ["eth[", eth0]'))
    none = world(policy('loadBalancerIPs: true, interfaces: ["eth["]'))
    [remark] = some.ingested.warnings.values()

    assert [Announced("a", "192.0.2.8", ("eth0",))] == announced(some)
    assert [] == announced(none)
    assert (ObjectRef("L2AnnouncementPolicy", "", "all"), "spec.interfaces[0]") == (remark.object, remark.field)
    assert "is not a regular expression of RE2" in remark.message


def test_nodes_are_selected_by_their_labels() -> None:
    """A node of which no object is known has its name as a label."""
    found = world(policy("loadBalancerIPs: true, nodeSelector: {matchLabels: {kubernetes.io/hostname: a}}"))
    [wanted] = found.ingested.announceable.values()

    assert (True, False) == (may_hold(wanted, node_labels(None, "a")), may_hold(wanted, node_labels(None, "b")))


def test_who_holds_an_address_keeps_it() -> None:
    """Whoever else comes: a move costs the connections that are open."""
    assert {"x": "b"} == holders({"x": "b"}, {"x": {"a", "b", "c"}}, settled=True)


def test_an_address_goes_to_another_node_when_its_holder_is_none_of_the_candidates() -> None:
    """And then to one that is."""
    assert {"x": "a"} == holders({"x": "b"}, {"x": {"a"}}, settled=True)


def test_nobody_is_given_an_address_before_everybody_could_claim_theirs() -> None:
    """A control plane that has just begun does not know who has what."""
    assert {"x": "b"} == holders({"x": "b"}, {"x": {"a", "b"}, "y": {"a"}}, settled=False)


def test_an_address_that_nobody_may_hold_has_no_holder() -> None:
    """Also where it had one, or is not announced any more."""
    assert {} == holders({"x": "b", "y": "b"}, {"x": set()}, settled=True)


def test_addresses_are_spread_over_the_nodes() -> None:
    """By a hash of both, so that it does not matter who decides."""
    candidates = {f"192.0.2.{number}": {"a", "b", "c"} for number in range(90)}
    given = list(holders({}, candidates, settled=True).values())

    assert all(given.count(name) > 15 for name in "abc")
