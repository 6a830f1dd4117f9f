"""Pools of addresses: who gets which address of which pool, and what pools say of themselves."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.address_pools import pool, without_conflicts
from xds_server.ingestion.addresses import Sharing, WantedFrontend, assignments
from xds_server.model.listener import Frontend
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.model.verdict import Condition
from xds_server.objects.meta import LabelSelector, ObjectMeta
from xds_server.objects.tidegate import AddressBlock, LoadBalancerIPPool, LoadBalancerIPPoolSpec

FIVE = AddressBlock(start="192.168.10.211", stop="192.168.10.215")


def pools(*named: tuple[str, AddressBlock], **spec: Any) -> list[Any]:
    """Pools of one block, each younger than the one before."""
    return [
        pool(
            ObjectRef("LoadBalancerIPPool", "", name),
            LoadBalancerIPPool(
                metadata=ObjectMeta(name=name, creation_timestamp=f"20{number:02}"),
                spec=LoadBalancerIPPoolSpec(blocks=(block,), **spec),
            ),
        )
        for number, (name, block) in enumerate(named)
    ]


def wanted(name: str, *static: str, created: str = "", namespace: str = "default", **more: Any) -> WantedFrontend:
    return WantedFrontend(ObjectRef("Gateway", namespace, name), created, static, **more)


def given_to(of: list[Any], *frontends: WantedFrontend) -> dict[str, Frontend]:
    return {frontend.ref.name: frontend for frontend in assignments(without_conflicts(of), frontends)}


def holding(found: dict[str, Frontend], *frontends: WantedFrontend) -> list[WantedFrontend]:
    """The frontends when their status shows what they were given."""
    return [
        WantedFrontend(each.ref, each.created, each.static, each.labels, found[each.ref.name].addresses)
        for each in frontends
    ]


# --- who gets what ----------------------------------------------------------------------------------------------------


def test_a_range_gives_each_of_its_addresses_once_and_says_when_it_is_exhausted() -> None:
    """W7: five addresses are for five; the sixth is told which pools to enlarge."""
    found = given_to(pools(("edge", FIVE)), *(wanted(f"g{n}", created=f"2020-{n}") for n in range(6)))

    assert {f"192.168.10.{n}" for n in range(211, 216)} == {a for each in found.values() for a in each.addresses}
    assert ("AddressNotAssigned", ()) == (found["g5"].reason, found["g5"].addresses)
    assert "no IPv4 address is free in the pools that select this (edge): add a block" in found["g5"].unusable


def test_a_pool_of_both_families_gives_one_address_of_each() -> None:
    """Dual stack is a pool with blocks of both."""
    of = pools(("four", AddressBlock(cidr="192.0.2.0/24")), ("six", AddressBlock(cidr="2001:db8::/112")))
    found = given_to(of, wanted("a"))["a"]

    assert [4, 6] == [ip_address(address).version for address in found.addresses]
    assert ["four", "six"] == [ref.name for ref in found.pools]


def test_an_older_pool_is_used_up_before_a_younger_one() -> None:
    """A pool that is added moves nobody."""
    old, new = ("old", AddressBlock(start="192.0.2.1")), ("new", AddressBlock(cidr="198.51.100.0/24"))
    frontends = [wanted("a", created="1"), wanted("b", created="2")]
    before = given_to(pools(old), *frontends)
    after = given_to(pools(old, new), *frontends)

    assert before["a"] == after["a"]
    assert (["old"], ["new"]) == tuple([ref.name for ref in after[name].pools] for name in "ab")


def test_a_pool_serves_those_that_it_selects() -> None:
    """By labels, and by what they would have as a Service; who is selected by none is told so."""
    selector = LabelSelector(match_labels={"tier": "edge"})
    of = pools(("edge", FIVE), service_selector=selector)
    found = given_to(of, wanted("a", labels={"tier": "edge"}), wanted("b", labels={"tier": "core"}))

    assert (1, 0) == (len(found["a"].addresses), len(found["b"].addresses))
    assert ("AddressNotAssigned", True) == (found["b"].reason, "selects this" in found["b"].unusable)


def test_a_named_address_must_be_in_a_pool_that_selects_the_frontend() -> None:
    """Pools decide who may have an address, also who asks for one by name."""
    of = pools(("edge", FIVE), service_selector=LabelSelector(match_labels={"tier": "edge"}))
    found = given_to(of, wanted("a", "192.168.10.212", labels={"tier": "edge"}), wanted("b", "192.168.10.213"))

    assert (("192.168.10.212",), ()) == (found["a"].addresses, found["b"].addresses)
    assert "in no LoadBalancerIPPool that selects this" in found["b"].unusable


def test_what_is_no_address_is_told_and_nothing_else_is_given() -> None:
    """A name in place of an address gives none."""
    found = given_to(pools(("edge", FIVE)), wanted("a", "192.168.10.212", "nine"))["a"]

    assert ((), "'nine' is asked for, and is no IP address: correct it") == (found.addresses, found.unusable)


def test_a_disabled_pool_gives_nothing_new_and_takes_nothing_away() -> None:
    """Who has an address of it keeps it."""
    of = pools(("edge", FIVE), disabled=True)
    found = given_to(of, wanted("old", held=("192.168.10.211",)), wanted("new", created="2020"))

    assert (("192.168.10.211",), ()) == (found["old"].addresses, found["new"].addresses)


def test_a_disabled_pool_does_not_take_the_address_of_the_shared_ingresses() -> None:
    """They have it already, whether or not any Ingress shows it."""
    ingresses = WantedFrontend(SHARED_INGRESS, "")
    found = [next(iter(assignments(pools(("edge", FIVE), disabled=off), [ingresses]))) for off in (False, True)]

    assert found[0].addresses == found[1].addresses != ()


def test_an_undecided_frontend_holds_what_it_has_and_is_given_nothing() -> None:
    """Nobody else has its address meanwhile."""
    one = AddressBlock(start="192.168.10.211", stop="192.168.10.211")
    found = given_to(pools(("edge", one)), wanted("old", held=("192.168.10.211",), undecided=True), wanted("new"))

    assert {"new": ()} == {name: frontend.addresses for name, frontend in found.items()}


def test_first_and_last_addresses_are_given_unless_the_pool_says_no() -> None:
    """`allowFirstLastIPs: No` is about networks; a range gives what it says."""
    block = AddressBlock(cidr="192.0.2.0/30")
    frontends = [wanted(name, created=name) for name in "abcd"]
    all_four = given_to(pools(("p", block)), *frontends)
    two = given_to(pools(("p", block), allow_first_last_ips="No"), *frontends)

    assert (4, 2) == tuple(sum(len(each.addresses) for each in found.values()) for found in (all_four, two))
    assert {"192.0.2.1", "192.0.2.2"} == {address for each in two.values() for address in each.addresses}


# --- stability --------------------------------------------------------------------------------------------------------

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, min_size=1, max_size=8)


@given(NAMES, st.data())
def test_a_deletion_moves_nobody_who_has_an_address(names: list[str], data: st.DataObject) -> None:
    """What the status shows is kept, whoever is gone."""
    frontends = [wanted(name, created=str(number)) for number, name in enumerate(names)]
    before = given_to(pools(("edge", FIVE)), *frontends)
    gone = data.draw(st.sampled_from(names))
    left = [each for each in holding(before, *frontends) if each.ref.name != gone]
    after = given_to(pools(("edge", FIVE)), *left)

    assert {n: f.addresses for n, f in before.items() if n != gone and f.addresses} == {
        n: f.addresses for n, f in after.items() if before[n].addresses
    }


@given(NAMES, st.booleans())
def test_a_newcomer_displaces_nobody_who_has_an_address(names: list[str], older: bool) -> None:
    """Not even one that was created before, and not one that names the address."""
    frontends = [wanted(name, created=f"2020-{number}") for number, name in enumerate(names)]
    before = given_to(pools(("edge", FIVE)), *frontends)
    newcomer = wanted("new", before[names[0]].addresses[0], created="2019" if older else "2021")
    after = given_to(pools(("edge", FIVE)), newcomer, *holding(before, *frontends))

    assert before == {name: frontend for name, frontend in after.items() if name != "new"}
    assert () == after["new"].addresses


@given(NAMES, st.randoms())
def test_no_order_of_objects_changes_an_address(names: list[str], random: Any) -> None:
    """Every replica gives the same, and no address twice."""
    frontends = [wanted(name) for name in names]
    mixed = random.sample(frontends, len(frontends))
    found = given_to(pools(("edge", FIVE)), *frontends)
    addresses = [address for each in found.values() for address in each.addresses]

    assert found == given_to(pools(("edge", FIVE)), *mixed)
    assert len(addresses) == len(set(addresses)) == min(len(names), 5)


def test_the_shared_ingresses_find_their_address_free() -> None:
    """It is given to others last, so that they have one address whenever they come."""
    shared = WantedFrontend(SHARED_INGRESS, "")
    [alone] = assignments(pools(("edge", FIVE)), [shared])
    others = [wanted(f"g{number}", created="2000") for number in range(4)]
    before = given_to(pools(("edge", FIVE)), *others)
    found = given_to(pools(("edge", FIVE)), shared, *holding(before, *others))

    assert alone == found["shared"]


# --- sharing ----------------------------------------------------------------------------------------------------------


def shared(name: str, port: int, *, key: str = "k", namespace: str = "default", **more: Any) -> WantedFrontend:
    allowed = frozenset(more.pop("allowed", ()))
    return wanted(name, namespace=namespace, ports=frozenset({port}), sharing=Sharing(key, allowed), **more)


def test_frontends_of_one_key_share_an_address_where_their_ports_differ() -> None:
    """Another port joins; the same port, and another key, get an address of their own."""
    found = given_to(
        pools(("edge", FIVE)),
        shared("a", 80, created="1"),
        shared("b", 443, created="2"),
        shared("c", 80, created="3"),
        shared("d", 8080, key="other", created="4"),
    )

    assert found["a"].addresses == found["b"].addresses
    assert 3 == len({found[name].addresses for name in "acd"})


@pytest.mark.parametrize(("theirs", "ours", "same"), [((), ("a",), False), (("b",), ("a",), True), (("*",), (), False)])
def test_namespaces_share_an_address_where_both_allow_it(
    theirs: tuple[str, ...], ours: tuple[str, ...], *, same: bool
) -> None:
    """S3: one namespace alone does not decide."""
    found = given_to(
        pools(("edge", FIVE)),
        shared("a", 80, namespace="a", allowed=theirs, created="1"),
        shared("b", 443, namespace="b", allowed=ours, created="2"),
    )

    assert same == (found["a"].addresses == found["b"].addresses)


def test_a_named_address_may_be_shared() -> None:
    """By key, as one that is chosen."""
    found = given_to(
        pools(("edge", FIVE)),
        WantedFrontend(ObjectRef("Gateway", "default", "a"), "1", ("192.168.10.213",), sharing=Sharing("k")),
        WantedFrontend(ObjectRef("Gateway", "default", "b"), "2", ("192.168.10.213",), sharing=Sharing("k")),
    )

    assert ("192.168.10.213",) == found["a"].addresses == found["b"].addresses


# --- pools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("192.0.2.0/24", "192.0.2.128/25", True),
        ("192.0.2.128/25", "192.0.2.0/24", True),
        ("192.0.2.0/25", "192.0.2.128/25", False),
        ("0.0.0.0/0", "::/0", False),
    ],
)
def test_the_younger_of_two_pools_that_overlap_is_not_used(one: str, other: str, *, overlap: bool) -> None:
    """It says with whom; the older one is as it was."""
    old, new = without_conflicts(pools(("old", AddressBlock(cidr=one)), ("new", AddressBlock(cidr=other))))

    assert ("", overlap) == (old.conflict, "overlaps LoadBalancerIPPool/old" in new.conflict)


def test_blocks_of_one_pool_may_not_overlap_either() -> None:
    """Such a pool is in conflict with itself."""
    found = LoadBalancerIPPool(
        metadata=ObjectMeta(name="p"),
        spec=LoadBalancerIPPoolSpec(blocks=(AddressBlock(cidr="192.0.2.0/24"), AddressBlock(start="192.0.2.7"))),
    )
    [settled] = without_conflicts([pool(ObjectRef("LoadBalancerIPPool", "", "p"), found)])

    assert "192.0.2.7/32 overlaps another block of its own" in settled.conflict


GATEWAY = """
kind: Gateway
metadata: {name: %s, labels: {tier: edge}}
spec:
  gatewayClassName: tidegate
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""
POOL = """
kind: %s
metadata: {name: %s, creationTimestamp: "%s"}
spec: {blocks: [{start: 192.168.10.211, stop: 192.168.10.215}]}
"""


def conditions(world: World, kind: str, name: str) -> dict[str, Condition]:
    return {each.type: each for each in world.verdict(kind, name, namespace="").conditions}


def test_a_pool_counts_its_addresses() -> None:
    """As Cilium does: the number is the message of a condition."""
    world = World(POOL % ("LoadBalancerIPPool", "edge", 2020), GATEWAY % "a", GATEWAY % "b")
    found = conditions(world, "LoadBalancerIPPool", "edge")

    assert ("5", "3", "2") == tuple(found[name].message for name in ("IPsTotal", "IPsAvailable", "IPsUsed"))
    assert ("True", "False") == (found["Accepted"].status, found["PoolConflict"].status)


def test_pools_of_cilium_are_pools_and_their_conditions_have_its_names() -> None:
    """The younger of two that overlap has a conflict, whatever their kinds."""
    world = World(
        POOL % ("CiliumLoadBalancerIPPool", "old", 2020), POOL % ("LoadBalancerIPPool", "new", 2021), GATEWAY % "a"
    )
    old = conditions(world, "CiliumLoadBalancerIPPool", "old")
    new = conditions(world, "LoadBalancerIPPool", "new")

    assert ("False", "4") == (old["cilium.io/PoolConflict"].status, old["cilium.io/IPsAvailable"].message)
    assert ("True", "0") == (new["PoolConflict"].status, new["IPsTotal"].message)


def test_the_flag_counts_only_without_pool_objects() -> None:
    """A pool object takes the place of what the operator gave for the time being."""
    world = World(GATEWAY % "a")
    [by_flag] = [frontend.addresses for frontend in world.ingested.frontends.values()]
    world.apply(POOL % ("LoadBalancerIPPool", "edge", 2020))
    [by_pool] = [frontend.addresses for frontend in world.ingested.frontends.values()]

    assert (True, True) == (by_flag[0].startswith("127."), by_pool[0].startswith("192.168.10."))


def test_without_any_pool_a_gateway_is_told_the_way_out() -> None:
    """On a cluster nothing is given that nobody declared."""
    world = World(GATEWAY % "a", settings=type(DIRECTORY)(undeclared_classes=("tidegate",), pool=()))
    [frontend] = world.ingested.frontends.values()

    assert ("AddressNotAssigned", True) == (frontend.reason, "create a LoadBalancerIPPool" in frontend.unusable)


@pytest.mark.parametrize(
    "selector",
    [
        "matchLabels: {tier: edge}",
        "matchLabels: {io.kubernetes.service.namespace: default}",
        "matchLabels: {io.kubernetes.service.name: tidegate-gateway-a}",
        "matchLabels: {gateway.networking.k8s.io/gateway-name: a}",
        "matchExpressions: [{key: tier, operator: NotIn, values: [core]}]",
    ],
)
def test_pools_select_gateways_by_their_labels_and_their_service(selector: str) -> None:
    """What the generated Service has, or would have, can be selected by."""
    of_pool = (POOL % ("LoadBalancerIPPool", "edge", 2020)).replace(
        "spec: {", f"spec: {{serviceSelector: {{{selector}}}, "
    )
    world = World(of_pool, GATEWAY % "a")

    assert ["edge"] == [ref.name for each in world.ingested.frontends.values() for ref in each.pools]


@pytest.mark.parametrize("name", ["lbipam.cilium.io/ips", "tidegate.dev/load-balancer-ips"])
def test_addresses_can_be_asked_for_by_annotation(name: str) -> None:
    """On a Gateway's infrastructure, and on an Ingress."""
    gateway = GATEWAY % "a" + f"  infrastructure: {{annotations: {{{name}: 192.168.10.214}}}}\n"
    ingress = f"""
kind: Ingress
metadata: {{name: i, annotations: {{{name}: "192.168.10.215"}}}}
spec: {{ingressClassName: tidegate, rules: [{{host: a.example.com}}]}}
"""
    world = World(POOL % ("LoadBalancerIPPool", "edge", 2020), gateway, ingress)
    found = {ref.kind: frontend.addresses for ref, frontend in world.ingested.frontends.items()}

    assert {"Gateway": ("192.168.10.214",), "Ingress": ("192.168.10.215",)} == found


def test_a_gateway_keeps_the_address_that_its_status_shows() -> None:
    """A restart of the control plane moves nobody, whatever it finds."""
    held = GATEWAY % "a" + 'status: {addresses: [{type: IPAddress, value: "192.168.10.214"}]}\n'
    world = World(POOL % ("LoadBalancerIPPool", "edge", 2020), held)

    assert [("192.168.10.214",)] == [frontend.addresses for frontend in world.ingested.frontends.values()]


def test_what_a_block_says_wrongly_is_told_and_the_others_are_used() -> None:
    """One bad block does not take away the good ones."""
    world = World("""
kind: LoadBalancerIPPool
metadata: {name: edge}
spec:
  blocks:
  - {cidr: nonsense}
  - {start: 192.0.2.9, stop: 192.0.2.1}
  - {start: "::1", stop: 192.0.2.1}
  - {}
  - {cidr: 192.0.2.0/30}
""")
    found = conditions(world, "LoadBalancerIPPool", "edge")

    assert ("False", "InvalidBlocks", "4") == (
        found["Accepted"].status,
        found["Accepted"].reason,
        found["IPsTotal"].message,
    )
    assert all(f"spec.blocks[{number}]: " in found["Accepted"].message for number in range(4))
