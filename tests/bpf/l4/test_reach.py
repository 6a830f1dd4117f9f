"""Packets to services that Envoy does not serve, and the answers: each is translated where it arrives and leaves."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from datapath.kernel.layout import MARK_MASK, MARK_REFUSE, NODE_PORT_FIRST, NODE_PORTS, Flow, Reason, ServiceFlag
from tests.bpf.frames import ACK, FRAGMENT, SYN, UDP, fragment, frame, ipv4, ipv6
from tests.bpf.l4.node import BACKEND_PORT, KINDS, V4, V6, Family, Kind, Node, ports, same_but_for_addresses, whole
from tests.bpf.stand import TC_ACT_UNSPEC
from tests.bpf.translated import ETHERNET, seen


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_client_outside_reaches_a_pod_of_this_node(node: Node, kind: Kind) -> None:
    """The pod sees the client's own address, and its answer has the service's."""
    family, client = kind.family, (kind.family.client, next(ports))
    at, backend = node.service(kind, [family.pod]), (family.pod, BACKEND_PORT)

    sent = kind.frame(client, at)
    came = node.run("from_network", sent, Reason.BALANCED)
    again = node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED)
    answer = node.run("to_network", kind.frame(backend, client, SYN | ACK), Reason.ANSWERED)

    assert whole(kind, client, backend) == seen(came) == seen(again)
    assert same_but_for_addresses(kind, sent, came)
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_client_outside_reaches_a_pod_of_another_node(node: Node, kind: Kind) -> None:
    """The pod sees this node, at a port of its own for the client, so that it answers by way of it."""
    family, client = kind.family, (kind.family.client, next(ports))
    at, backend = node.service(kind, [family.remote]), (family.remote, BACKEND_PORT)

    came = node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    left = seen(node.run("to_network", came, Reason.MASQUERADED))
    returned = node.run(
        "from_network", kind.frame(backend, (family.node, left.source_port), SYN | ACK), Reason.RETURNED
    )
    answer = node.run("to_network", returned, Reason.ANSWERED)
    later = node.run(
        "to_network", node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED), Reason.MASQUERADED
    )

    assert whole(kind, client, backend) == seen(came)
    assert whole(kind, (family.node, left.source_port), backend) == left == seen(later)
    assert left.source_port in range(NODE_PORT_FIRST, NODE_PORT_FIRST + NODE_PORTS)
    assert whole(kind, backend, client) == seen(returned)
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("where", ["neighbour", "remote"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_pod_whose_socket_did_not_choose_reaches_a_backend(node: Node, kind: Kind, where: str) -> None:
    """Wherever that is, it sees the pod's own address; the answer has the service's."""
    family, client = kind.family, (kind.family.pod, next(ports))
    backend = (getattr(family, where), BACKEND_PORT)
    at = node.service(kind, [backend[0]], flags=ServiceFlag(0))

    came = node.run("from_workload", kind.frame(client, at), Reason.BALANCED)
    gone = node.outcome("to_workload" if where == "neighbour" else "to_network", came)
    answer = node.run("to_workload", kind.frame(backend, client, SYN | ACK), Reason.ANSWERED)

    assert whole(kind, client, backend) == seen(came) == seen(gone.packet)
    assert (Reason.PASS_NO_SERVICE,) == gone.reasons
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_pod_reaches_itself(node: Node, kind: Kind) -> None:
    """As its own backend it sees the node, whose address it can answer to."""
    family, client = kind.family, (kind.family.pod, next(ports))
    at, backend = node.service(kind, [family.pod], flags=ServiceFlag(0)), (family.pod, BACKEND_PORT)

    came = node.run("from_workload", kind.frame(client, at), Reason.BALANCED)
    # Envoy's way to a pod that is its own backend does not count here: this has no mark.
    gone = seen(node.run("to_workload", came, Reason.MASQUERADED))
    returned = node.run("from_workload", kind.frame(backend, (family.node, gone.source_port), ACK), Reason.RETURNED)
    answer = node.run("to_workload", returned, Reason.ANSWERED)

    assert whole(kind, (family.node, gone.source_port), backend) == gone
    assert whole(kind, at, client) == seen(answer)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_packet_that_is_cut_off_is_not_translated(node: Node, kind: Kind) -> None:
    """Without all of its headers it passes as it is."""
    client = (kind.family.client, next(ports))
    at = node.service(kind, [kind.family.pod])
    sent = kind.frame(client, at)
    least = ETHERNET + (20 if kind.family is V4 else 40)  # a kernel lets no less of a packet in
    headers = len(sent) - len(kind.payload)
    cut = [(sent[:length], node.stand.pass_through("from_network", sent[:length])) for length in range(least, headers)]

    assert [(TC_ACT_UNSPEC, 0, octets) for octets, _ in cut] == [outcome for _, outcome in cut]
    assert (Reason.PASS_MALFORMED,) == node.outcome("from_network", sent[: headers - 1]).reasons


@pytest.mark.parametrize("family", [V4, V6], ids=lambda family: family.name)
def test_fragments_go_where_the_first_one_goes(node: Node, family: Family) -> None:
    """Put together, what arrives is the datagram with the backend's address and a checksum that holds."""
    kind = Kind("fragments", family, UDP, bytes(range(250)) * 4)
    client, backend = (family.client, next(ports)), (family.pod, BACKEND_PORT)
    at = node.service(kind, [family.pod])
    header = 20 if family is V4 else 40
    datagram = kind.frame(client, at)[ETHERNET + header :]
    parts = [(0, datagram[:400]), (50, datagram[400:800]), (100, datagram[800:])]
    came = b""
    for offset, part in parts:
        more = offset < 100
        if family is V4:
            packet = ipv4(client[0], at[0], UDP, part, fragment=offset, more=more, identification=7)
        else:
            inner = fragment(UDP, part, offset=offset, more=more, identification=7)
            packet = ipv6(client[0], at[0], FRAGMENT, inner)
        reason = Reason.PASS_BALANCED if offset else Reason.BALANCED
        got = node.run("from_network", frame(packet), reason)
        came += got[ETHERNET + header + (0 if family is V4 else 8) :]
        assert (
            ip_address(family.pod).packed
            == got[ETHERNET + header - len(ip_address(family.pod).packed) :][: len(ip_address(family.pod).packed)]
        )

    make = ipv4 if family is V4 else ipv6
    assert whole(kind, client, backend) == seen(frame(make(client[0], backend[0], UDP, came)))


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_service_without_backends_is_refused(node: Node, kind: Kind) -> None:
    """The packet is marked for an answer that says so, and is otherwise as it was."""
    sent = kind.frame((kind.family.client, next(ports)), node.service(kind, []))

    outcome = node.outcome("from_network", sent)

    assert (TC_ACT_UNSPEC, MARK_REFUSE, (Reason.REFUSED_NO_BACKEND,), sent) == (
        outcome.action,
        outcome.mark & MARK_MASK,
        outcome.reasons,
        outcome.packet,
    )


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_backend_of_the_other_family_is_none(node: Node, kind: Kind) -> None:
    """An IPv4 packet cannot become one of IPv6."""
    other = V6 if kind.family is V4 else V4
    sent = kind.frame((kind.family.client, next(ports)), node.service(kind, [other.pod]))

    assert (Reason.REFUSED_NO_BACKEND,) == node.outcome("from_network", sent).reasons


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_a_service_of_the_cluster_is_not_for_who_is_outside(node: Node, kind: Kind) -> None:
    """Without EXTERNAL its address is nothing to what comes over the network."""
    sent = kind.frame((kind.family.client, next(ports)), node.service(kind, [kind.family.pod], flags=ServiceFlag(0)))

    outcome = node.outcome("from_network", sent)

    assert ((Reason.PASS_NOT_EXTERNAL,), sent) == (outcome.reasons, outcome.packet)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[6]], ids=lambda kind: kind.name)
def test_a_service_that_fails_open_has_its_backends_while_envoy_is_away(node: Node, kind: Kind) -> None:
    """A pod that connects then is balanced, and its connection stays with the backend."""
    family, client = kind.family, (kind.family.pod, next(ports))
    at = node.service(kind, [family.remote], flags=ServiceFlag.PROXY | ServiceFlag.FAIL_OPEN)

    came = node.run("from_workload", kind.frame(client, at), Reason.BALANCED)
    later = node.run("from_workload", kind.frame(client, at, ACK), Reason.PASS_BALANCED)

    assert whole(kind, client, (family.remote, BACKEND_PORT)) == seen(came) == seen(later)


@pytest.mark.parametrize("kind", KINDS[::3], ids=lambda kind: kind.name)
def test_what_was_pushed_out_is_written_again(node: Node, kind: Kind) -> None:
    """The next packet of the client makes answers known, also where nothing but its connection was kept."""
    family, client = kind.family, (kind.family.client, next(ports))
    at, backend = node.service(kind, [family.pod]), (family.pod, BACKEND_PORT)
    node.run("from_network", kind.frame(client, at), Reason.BALANCED)
    node.translations.delete(Flow(ip_address(backend[0]), ip_address(client[0]), backend[1], client[1], kind.protocol))
    lost = node.outcome("to_network", kind.frame(backend, client, ACK))
    node.run("from_network", kind.frame(client, at, ACK), Reason.PASS_BALANCED)

    assert (Reason.PASS_NO_SERVICE,) == lost.reasons
    assert whole(kind, at, client) == seen(node.run("to_network", kind.frame(backend, client, ACK), Reason.ANSWERED))


def test_what_is_no_flow_of_ours_passes(node: Node) -> None:
    """To a port of the node's range that nobody has, from a pod to a client that asked for no service."""
    kind = KINDS[0]
    strange = kind.frame((V4.remote, 5), (V4.node, NODE_PORT_FIRST + 1), ACK)
    own = kind.frame((V4.pod, 9090), (V4.client, 9), ACK)

    assert strange == node.run("from_network", strange, Reason.PASS_NO_SERVICE)
    assert own == node.run("to_network", own, Reason.PASS_NO_SERVICE)
