"""Addresses that go from one pod to another, before the control plane says so."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

from datapath.enrolment import BELIEVED_AFTER_S, Enrolment
from datapath.resources import Address

POD, OTHER = ip_address("10.1.0.1"), ip_address("10.1.0.2")


def test_a_pod_has_its_address_at_its_link() -> None:
    """From the moment at which both are known, for as long as both stay."""
    enrolment = Enrolment({}, {})

    assert [{POD: 7}, {POD: 7}] == [enrolment.take({POD: 7}, {POD: "a"}, 0, told=True) for _ in range(2)]


def test_an_address_at_another_link_is_nobodys_until_another_pod_is_named() -> None:
    """What comes from there is not who had it before."""
    enrolment = Enrolment({}, {})
    enrolment.take({POD: 7}, {POD: "a"}, 0, told=True)
    moved = enrolment.take({POD: 8, OTHER: 9}, {POD: "a", OTHER: "b"}, 1, told=True)
    waiting = set(enrolment.waiting)
    named = enrolment.take({POD: 8, OTHER: 9}, {POD: "c", OTHER: "b"}, 2, told=True)

    assert ({OTHER: 9}, {POD}, {POD: 8, OTHER: 9}, {}) == (moved, waiting, named, enrolment.waiting)


def test_a_pod_that_is_named_again_is_another() -> None:
    """Its address was nobody's in between."""
    enrolment = Enrolment({}, {})
    enrolment.take({POD: 7}, {POD: "a"}, 0, told=True)
    enrolment.take({}, {}, 1, told=True)

    assert {POD: 8} == enrolment.take({POD: 8}, {POD: "a"}, 2, told=True)


def test_a_link_that_is_away_for_a_moment_changes_nothing() -> None:
    """It is the same one."""
    enrolment = Enrolment({}, {})
    enrolment.take({POD: 7}, {POD: "a"}, 0, told=True)
    enrolment.take({}, {POD: "a"}, 1, told=True)

    assert {POD: 7} == enrolment.take({POD: 7}, {POD: "a"}, 2, told=True)


def test_a_pod_with_another_link_is_believed_in_time() -> None:
    """When a control plane that is there says nothing else for long enough; while there is none, no time passes."""
    enrolment = Enrolment({}, {})
    enrolment.take({POD: 7}, {POD: "a"}, 0, told=True)
    seen = [
        enrolment.take({POD: 8}, {POD: "a"}, now, told=told)
        for now, told in ((1, True), (90, False), (90 + BELIEVED_AFTER_S - 1, True), (90 + BELIEVED_AFTER_S, True))
    ]

    assert [{}, {}, {}, {POD: 8}] == seen


def test_how_long_an_address_is_nobodys_still_is_known() -> None:
    """From the moment at which it was seen at another link; without a control plane it begins anew."""
    enrolment, left = Enrolment({}, {}), []
    enrolment.take({POD: 7}, {POD: "a"}, 0, told=True)
    for now, told in ((1, True), (11, True), (12, False)):
        enrolment.take({POD: 8}, {POD: "a"}, now, told=told)
        left.append(dict(enrolment.left_s))

    assert [{POD: BELIEVED_AFTER_S}, {POD: BELIEVED_AFTER_S - 10}, {POD: BELIEVED_AFTER_S}] == left


def test_a_daemon_that_starts_knows_which_link_was_whose() -> None:
    """By what it was told before, and what the kernel has."""
    enrolment = Enrolment({POD: "a"}, {POD: 7, OTHER: 9})

    assert {OTHER: 8} == enrolment.take({POD: 8, OTHER: 8}, {POD: "a", OTHER: "b"}, 0, told=True)


def test_of_10000_pods_that_come_and_go_none_has_the_identity_of_another() -> None:
    """B6: with few addresses and a control plane that is late, an address is only known at its own pod's link."""
    random, enrolment = Random(1), Enrolment({}, {})
    addresses = [ip_address(f"10.1.0.{last}") for last in range(1, 9)]
    links: dict[str, int] = {}
    there: dict[Address, str] = {}
    said: dict[Address, str] = {}
    wrong = []
    for number in range(10_000):
        address = random.choice(addresses)
        there[address] = f"pod-{number}"
        links[there[address]] = number + 1
        if random.random() < 0.5:
            said[address] = there[address]
        found = enrolment.take(
            {each: links[there[each]] for each in said},
            dict(said),
            number / 1000,
            told=True,
        )
        wrong += [each for each, link in found.items() if links[said[each]] != link]

    assert [] == wrong
