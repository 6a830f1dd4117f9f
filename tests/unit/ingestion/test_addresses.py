"""Addresses: from the pool, by name, and the same tomorrow."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from xds_server.ingestion.address_pools import of_flag
from xds_server.ingestion.addresses import WantedFrontend, assignments
from xds_server.model.listener import Frontend
from xds_server.model.refs import SHARED_INGRESS, ObjectRef

WIDE = ("127.64.0.0/12",)
NARROW = ("127.64.0.0/29",)


def wanted(name: str, *static: str, created: str = "") -> WantedFrontend:
    return WantedFrontend(ObjectRef("Gateway", "default", name), created, static)


def given_to(networks: tuple[str, ...], *frontends: WantedFrontend) -> dict[str, Frontend]:
    return {frontend.ref.name: frontend for frontend in assignments(of_flag(networks), frontends)}


def test_an_address_depends_on_nothing_but_the_name() -> None:
    """A restart, a neighbour and the order of arrival change nothing."""
    alone = given_to(WIDE, wanted("a"))["a"]
    among = given_to(WIDE, *(wanted(name) for name in "zyxa"))["a"]

    assert alone == among
    assert ip_address(alone.addresses[0]) in ip_network(WIDE[0])


def test_each_network_of_the_pool_gives_one_address() -> None:
    """Dual stack is a pool of two networks."""
    pool = (*WIDE, "fd00:1::/64")
    [four, six] = map(ip_address, given_to(pool, wanted("a"))["a"].addresses)

    assert (four in ip_network(pool[0]), six in ip_network(pool[1])) == (True, True)


@given(st.lists(st.text("abcdefgh", min_size=1, max_size=4), unique=True, max_size=8))
def test_no_two_frontends_share_an_address(names: list[str]) -> None:
    """Addresses are distinct while they last, and who gets none is told."""
    found = given_to(NARROW, *(wanted(name) for name in names))
    addresses = [address for frontend in found.values() for address in frontend.addresses]

    assert len(addresses) == len(set(addresses)) == min(len(names), 6)
    assert all("--pool" in frontend.unusable for frontend in found.values() if not frontend.addresses)


def test_the_older_frontend_keeps_its_address_on_a_collision() -> None:
    """Where two names lead to one place the younger moves on."""
    before = given_to(NARROW, *(wanted(name, created="2020") for name in "abc"))
    after = given_to(NARROW, *(wanted(name, created="2020") for name in "abc"), wanted("0", created="2021"))

    assert before == {name: frontend for name, frontend in after.items() if name != "0"}


def test_exhaustion_has_a_reason() -> None:
    """AddressNotAssigned, and the way out."""
    found = given_to(("127.0.0.9/32",), wanted("a", created="1"), wanted("b", created="2"))

    assert ("127.0.0.9",) == found["a"].addresses
    assert ("AddressNotAssigned", ()) == (found["b"].reason, found["b"].addresses)


def test_network_and_broadcast_addresses_are_never_given() -> None:
    """Nor any that ends in .0 or .255."""
    pool = ("127.64.0.0/23",)
    found = given_to(pool, *(wanted(f"n{number}") for number in range(520)))
    given_addresses = {int(ip_address(a)) & 255 for frontend in found.values() for a in frontend.addresses}

    assert {0, 255}.isdisjoint(given_addresses)
    assert 508 == sum(1 for frontend in found.values() if frontend.addresses)


def test_a_younger_frontend_does_not_take_an_address_that_is_served() -> None:
    """S3: whoever names the address that an older frontend was given by chance is told that it is in use."""
    chance = given_to(NARROW, wanted("a", created="2020"))["a"].addresses[0]
    found = given_to(NARROW, wanted("a", created="2020"), wanted("b", chance, created="2021"))

    assert ((chance,), ()) == (found["a"].addresses, found["b"].addresses)
    assert "AddressNotUsable" == found["b"].reason
    assert f"address {chance} is in use by Gateway/default/a, which comes first" in found["b"].unusable


def test_an_older_frontend_has_the_address_that_it_names() -> None:
    """The younger, which would be there by chance, is given another."""
    chance = given_to(NARROW, wanted("a"))["a"].addresses[0]
    found = given_to(NARROW, wanted("a", created="2021"), wanted("b", chance, created="2020"))

    assert ((chance,), True) == (found["b"].addresses, found["a"].addresses not in ((chance,), ()))


def test_a_frontend_without_a_time_of_creation_is_the_youngest() -> None:
    """It takes no address from one that has it; two without are ordered by their references, not by what they name."""
    chance = given_to(NARROW, wanted("b", created="2020"))["b"].addresses[0]
    found = given_to(NARROW, wanted("b", created="2020"), wanted("a", chance))

    assert ((chance,), ()) == (found["b"].addresses, found["a"].addresses)

    found = given_to(NARROW, wanted("b"), wanted("c", chance))

    assert ((chance,), ()) == (found["b"].addresses, found["c"].addresses)


def test_nobody_takes_the_address_of_the_shared_ingresses() -> None:
    """S3: it is the installation's, which is older than any object."""
    shared = WantedFrontend(SHARED_INGRESS, "")
    [before] = assignments(of_flag(NARROW), [shared])
    [after, thief] = assignments(of_flag(NARROW), [wanted("thief", *before.addresses, created="1970"), shared])

    assert (before, ()) == (after, thief.addresses)
    assert "in use by the shared Ingresses" in thief.unusable


def test_the_holder_of_another_namespace_is_not_named() -> None:
    """S1: who asks for an address learns the kind of its holder, not what another namespace holds."""
    holder = WantedFrontend(ObjectRef("Ingress", "private", "launch"), "2020", ("127.64.0.9",))
    found = given_to(WIDE, holder, wanted("b", "127.64.0.9", created="2021"))

    assert "in use by the Ingress of another namespace" in found["b"].unusable
    assert "launch" not in found["b"].unusable


def test_an_address_is_given_once() -> None:
    """The second to ask for it is told who has it."""
    found = given_to(WIDE, wanted("a", "127.64.0.9", created="1"), wanted("b", "127.64.0.9", created="2"))

    assert (("127.64.0.9",), ()) == (found["a"].addresses, found["b"].addresses)
    assert "in use by Gateway/default/a" in found["b"].unusable
