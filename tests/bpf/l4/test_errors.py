"""ICMP errors about packets that were translated: they reach who has sent those, and quote what he has sent."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack, unpack_from

import pytest

from datapath.kernel.layout import Reason
from tests.bpf.frames import ACK, ICMP, ICMPV6, PUSH, TCP, checksum, frame, icmp, ipv4, ipv6
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, V6, Family, Kind, Node, ports
from tests.bpf.translated import ETHERNET, addresses, seen


def error(family: Family, router: str, to: str, quoted: bytes) -> bytes:
    """A router's word that what it quotes is too big for the next link."""
    if family is V4:
        octets = icmp(3, 4, quoted)
        return frame(ipv4(router, to, ICMP, octets[:2] + pack(">H", checksum(octets)) + octets[4:]))
    octets = icmp(2, 0, quoted)
    pseudo = ip_address(router).packed + ip_address(to).packed + pack(">II", len(octets), ICMPV6)
    return frame(ipv6(router, to, ICMPV6, octets[:2] + pack(">H", checksum(pseudo + octets)) + octets[4:]))


@pytest.mark.parametrize("length", [8, 20, 1000])
@pytest.mark.parametrize("where", ["pod", "remote"])
@pytest.mark.parametrize("family", [V4, V6], ids=lambda family: family.name)
def test_an_error_about_an_answer_is_the_backend_s(node: Node, family: Family, where: str, length: int) -> None:
    """What it quotes is what the backend has sent, as far as it is quoted; the error's checksum holds."""
    kind = Kind("segments", family, TCP, bytes(range(250)) * 4)
    client, backend = (family.client, next(ports)), (getattr(family, where), BACKEND_PORT)
    at, router = node.service(kind, [backend[0]]), "198.51.100.254" if family is V4 else "2001:db8:9::fe"
    came = node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    peer = seen(node.run("to_network", came, Reason.MASQUERADED)) if where == "remote" else seen(came)
    header = 20 if family is V4 else 40

    quoted = kind.frame(at, client, ACK)[ETHERNET : ETHERNET + header + length]
    got = node.run("from_network", error(family, router, at[0], quoted), Reason.BALANCED_ERROR)[ETHERNET:]
    inner = got[header + 8 :]

    pseudo = b"" if family is V4 else got[8:40] + pack(">II", len(got) - header, ICMPV6)
    assert 0 == checksum(pseudo + got[header:])
    assert (ip_address(router).packed, ip_address(backend[0]).packed) == addresses(got)
    assert (ip_address(backend[0]).packed, ip_address(peer.source).packed) == addresses(inner)
    assert (BACKEND_PORT, peer.source_port) == unpack_from(">HH", inner, header)
    assert family is V6 or 0 == checksum(got[:header]) == checksum(inner[:header])


@pytest.mark.parametrize("where", ["pod", "remote"])
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2], KINDS[6], KINDS[8]], ids=lambda kind: kind.name)
def test_an_error_about_what_a_client_has_sent_is_the_client_s(node: Node, kind: Kind, where: str) -> None:
    """By this node or by who is behind it; it quotes the client's own packet, to the service."""
    family = kind.family
    client, backend = (family.client, next(ports)), (getattr(family, where), BACKEND_PORT)
    at, router = node.service(kind, [backend[0]]), "198.51.100.254" if family is V4 else "2001:db8:9::fe"
    if kind.protocol == TCP:
        node.open(kind, client, at, backend)
    _, _, came = node.stand.pass_through("from_network", kind.frame(client, at, ACK, sequence=2, acknowledged=4001))
    header = 20 if family is V4 else 40

    if where == "pod":
        said = error(family, router, client[0], came[ETHERNET : ETHERNET + header + 8])
    else:
        left = node.run("to_network", came, Reason.MASQUERADED)
        heard = error(family, router, family.node, left[ETHERNET : ETHERNET + header + 8])
        said = node.run("from_network", heard, Reason.BALANCED_ERROR)
    got = node.run("to_network", said, Reason.BALANCED_ERROR)[ETHERNET:]
    inner = got[header + 8 :]

    pseudo = b"" if family is V4 else got[8:40] + pack(">II", len(got) - header, ICMPV6)
    assert 0 == checksum(pseudo + got[header:])
    assert (ip_address(router).packed, ip_address(client[0]).packed) == addresses(got)
    assert (ip_address(client[0]).packed, ip_address(at[0]).packed) == addresses(inner)
    assert (client[1], at[1]) == unpack_from(">HH", inner, header)
    assert family is V6 or 0 == checksum(got[:header]) == checksum(inner[:header])


@pytest.mark.parametrize("quoted", ["whole", "a later fragment"])
def test_an_error_about_a_direct_connection_is_left_alone(node: Node, quoted: str) -> None:
    """Somebody has opened one to a service in its client's name, which nobody has answered."""
    client, pod = (V4.client, next(ports)), (V4.pod, BACKEND_PORT)
    at = node.service(KINDS[0], [pod[0]])
    node.run("from_network", KINDS[0].frame(client, at), Reason.BALANCED)
    if quoted == "a later fragment":
        node.open(KINDS[0], client, at, pod)
    about = KINDS[0].frame(client, pod, PUSH | ACK)[ETHERNET : ETHERNET + 28]
    if quoted == "a later fragment":
        about = about[:6] + pack(">H", 100) + about[8:]
    said = error(V4, "198.51.100.254", client[0], about)

    assert said == node.run("to_network", said, Reason.PASS_NO_PORTS)


def test_an_error_about_nothing_of_ours_is_left_alone(node: Node) -> None:
    """Also if it quotes a packet of a client to a service: so nobody here has sent it."""
    kind, client = KINDS[0], (V4.client, next(ports))
    at = node.service(kind, [V4.pod])
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    sent = error(V4, "198.51.100.254", client[0], kind.frame(client, at)[ETHERNET:])

    assert sent == node.run("from_network", sent, Reason.PASS_NO_PORTS)
