"""What comes from the stream is checked before it is used."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from datapath.resources import ANNOUNCEMENTS, SERVICE, TCP, WORKLOADS, InvalidResource, Service, decoded
from tests.unit.datapath.wire import packed, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

GOOD = service(("10.0.0.1", 80, "web"), backends=[("10.1.0.1", 8080, 1)], proxied=True)


def test_a_service_becomes_addresses_and_flags() -> None:
    """Addresses of either family are their own objects, and a mapped one is the IPv4 that it maps."""
    message = service(("::ffff:10.0.0.1", 80, ""), backends=[("fd00::1", 8080, 2)], affinity_s=60, external=True)

    found = decoded(SERVICE, "default/web/80/TCP", message.SerializeToString())

    assert isinstance(found, Service)
    assert (ip_address("10.0.0.1"), ip_address("fd00::1")) == (found.frontends[0].address, found.backends[0].address)
    assert (TCP, True, None, 60) == (found.protocol, found.external, found.proxy, found.affinity_s)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\xff", "it is no Service"),
        (service(("10.0.0.1", 80, ""), protocol=0), "protocol 0 is unknown"),
        (service(("10.0.0.1", 80, "web"), protocol=pb.UDP, proxied=True), "proxy: Envoy serves TCP alone here"),
        (service(), "frontends: it has none"),
        (service(("10.0.0.1", 0, "")), "frontends[0].port 0 is no port"),
        (service(("10.0.0.1", 65536, "")), "frontends[0].port 65536 is no port"),
        (service(("127.0.0.1", 80, "")), "frontends[0].address 127.0.0.1 is no address of"),
        (service(("::ffff:127.0.0.1", 80, "")), "frontends[0].address 127.0.0.1 is no address of"),
        (service(("224.0.0.1", 80, "")), "is no address of"),
        (service(("fe80::1", 80, "")), "is no address of"),
        (service(("10.0.0.1", 80, ""), proxied=True), "frontends[0].listener: a service with a proxy names"),
        (service(("10.0.0.1", 80, "web")), "frontends[0].listener: it has no proxy"),
        (service(("10.0.0.1", 80, ""), backends=[("169.254.169.254", 80, 1)]), "backends[0].address 169.254.169.254"),
        (service(("10.0.0.1", 80, ""), backends=[("10.1.0.1", 80, 1_000_001)]), "backends[0].weight 1000001"),
        (service(("10.0.0.1", 80, ""), backends=[("", 80, 1)]), "backends[0]: it has no address"),
        (service(("10.0.0.1", 80, ""), affinity_s=86_401), "affinity_s 86401 is more than a day"),
        (
            pb.Service(protocol=pb.TCP, frontends=[pb.Frontend(address=b"123", port=80)]),
            "frontends[0].address has 3 bytes",
        ),
    ],
)
def test_a_fault_names_the_field(message: Any, words: str) -> None:
    """Nothing of a resource is used that has something in it which cannot be."""
    body = message if isinstance(message, bytes) else message.SerializeToString()

    with pytest.raises(InvalidResource) as raised:
        decoded(SERVICE, "default/web/80/TCP", body)

    assert words in str(raised.value)


def test_an_unknown_fail_mode_is_refused() -> None:
    """What to do without Envoy is never guessed."""
    message = service(("10.0.0.1", 80, "web"), proxied=True)
    message.proxy.fail_mode = 7  # type: ignore[assignment]

    with pytest.raises(InvalidResource, match="fail_mode 7 is unknown"):
        decoded(SERVICE, "a", message.SerializeToString())


@pytest.mark.parametrize("name", ["", "a\nb", "n" * 513])
def test_a_name_is_printable_and_short(name: str) -> None:
    """It is shown to people."""
    with pytest.raises(InvalidResource, match="its name is to have"):
        decoded(SERVICE, name, GOOD.SerializeToString())


def test_pods_and_announcements_are_checked_too() -> None:
    """A pod's names are shown to people, and a pattern is RE2's."""
    pods = pb.Workloads(workloads=[pb.Workload(namespace="a\0b", addresses=[packed("10.1.0.1")])])
    answers = pb.Announcements(announcements=[pb.Announcement(address=packed("10.9.0.1"), interfaces=["("])])

    with pytest.raises(InvalidResource, match=r"workloads\[0\]: a name in it"):
        decoded(WORKLOADS, "n1", pods.SerializeToString())
    with pytest.raises(InvalidResource, match=r"announcements\[0\].interfaces\[0\] is no RE2 pattern"):
        decoded(ANNOUNCEMENTS, "n1", answers.SerializeToString())
