"""Connections over real links: who gets them, and what each side sees of the other."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from datapath.kernel.layout import (
    ABSENCE,
    CAPTURE_PORT,
    LISTENERS_PER_FAMILY,
    MARK_FROM_PROXY,
    MARK_TO_PROXY,
    PATIENCE_NS,
    PROXIED_AS,
    Absence,
    Direction,
    Index,
    Reason,
    ServiceFlag,
)
from tests.bpf.lab import ADDRESSES, BACKEND, FAMILIES, LOOPBACK, NODE, OUTSIDE, POD, Lab, run

MESH = ("10.96.0.10", "fd00:96::10")
GATEWAY = ("203.0.113.10", "2001:db8:203::10")
HTTP, HTTPS, NODE_PORT, BACKEND_PORT = 80, 443, 30080, 8080
FROM_WORKLOAD, FROM_HOST = Direction.FROM_WORKLOAD, Direction.FROM_HOST
SO_MARK = 36
RESET = b"\1\0\0\0\0\0\0\0"
"""Of SO_LINGER: a closed socket leaves nothing behind."""
SELF = ("192.0.0.8", "100:0:0:1::8")

Family = int
"""0 for IPv4, 1 for IPv6."""

both = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("bpffs")) as lab:
        for mesh, gateway in zip(MESH, GATEWAY, strict=True):
            lab.serve(mesh, HTTP, ServiceFlag.PROXY)
            lab.serve(gateway, HTTPS, ServiceFlag.PROXY | ServiceFlag.EXTERNAL)
        lab.serve(None, NODE_PORT, ServiceFlag.PROXY | ServiceFlag.EXTERNAL)
        yield lab


@pytest.fixture
def envoy(node: Lab) -> Iterator[tuple[socket.socket, ...]]:
    """What listens as Envoy does: a socket of each family, for as long as the test runs."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(node.capture(family)) for family in FAMILIES)


def accepted(listener: socket.socket) -> tuple[socket.socket, tuple[str, int], str]:
    """A connection, to whom it was, and from whom."""
    connection, peer = listener.accept()
    connection.settimeout(listener.gettimeout())
    return connection, connection.getsockname()[:2], peer[0]


def converse(one: socket.socket, other: socket.socket) -> None:
    """Both hear each other."""
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"x" * 4000)
        received = b""
        while len(received) < 4000:
            received += receiver.recv(4000)


def converse_at(listener: socket.socket, client: socket.socket) -> None:
    """It is the listener that has the client's connection."""
    connection, _, _ = accepted(listener)
    with connection:
        converse(client, connection)


def asked(
    node: Lab, listener: socket.socket, who: str, to: tuple[str, int], *, port: int = 0, mark: int = 0
) -> tuple[tuple[str, int], str]:
    """Who connects has a conversation with Envoy, which sees whom it was for, and from whom."""
    with node.connect(who, to, port, mark) as client:
        server, local, peer = accepted(listener)
        with server:
            converse(client, server)
    return local, peer


def refused(node: Lab, who: str, to: tuple[str, int], mark: int = 0) -> bool:
    try:
        node.connect(who, to, mark=mark).close()
    except ConnectionRefusedError:
        return True
    return False


@both
def test_a_pod_reaches_a_proxied_service(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """Envoy has the connection, to the service's address and from the pod's own."""
    to = (MESH[family], HTTP)

    assert (to, ADDRESSES[POD][family]) == asked(node, envoy[family], POD, to)


@both
def test_an_outside_client_reaches_a_gateway(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """Envoy has the connection from the client's own address: nothing has translated it."""
    to = (GATEWAY[family], HTTPS)

    assert (to, ADDRESSES[OUTSIDE][family]) == asked(node, envoy[family], OUTSIDE, to)


@both
def test_a_pod_reaches_its_own_gateway(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """A hairpin is a connection like another."""
    to = (GATEWAY[family], HTTPS)

    assert (to, ADDRESSES[POD][family]) == asked(node, envoy[family], POD, to)


@both
@pytest.mark.parametrize("who", [POD, OUTSIDE])
def test_a_node_port_is_reached_at_the_nodes_address(
    node: Lab, envoy: tuple[socket.socket, ...], family: Family, who: str
) -> None:
    """A frontend of address zero is at every address of the node, from inside and outside."""
    to = (ADDRESSES[NODE][family], NODE_PORT)

    assert (to, ADDRESSES[who][family]) == asked(node, envoy[family], who, to)


@both
def test_a_process_of_the_node_reaches_a_proxied_service(
    node: Lab, envoy: tuple[socket.socket, ...], family: Family
) -> None:
    """With the mark on its socket it sends from the node's address, which the route names."""
    to = (MESH[family], HTTP)

    assert (to, ADDRESSES[NODE][family]) == asked(node, envoy[family], NODE, to, mark=MARK_TO_PROXY)


@both
def test_a_port_is_used_again_while_envoy_remembers_it(
    node: Lab, envoy: tuple[socket.socket, ...], family: Family
) -> None:
    """L1: Envoy closes first and has the connection in TIME_WAIT; the same client from the same port is served."""
    to = (MESH[family], HTTP)
    seen = []
    for _ in range(3):
        with node.connect(POD, to, port=45555) as client:
            server, local, _ = accepted(envoy[family])
            converse(client, server)
            server.close()
            assert b"" == client.recv(1)
        seen.append(local)

    assert [to] * 3 == seen


@both
def test_envoy_reaches_a_backend_of_the_same_node_from_its_clients_address(node: Lab, family: Family) -> None:
    """The backend sees the client; its replies, which are the client's by address, reach Envoy."""
    backend = (ADDRESSES[BACKEND][family], BACKEND_PORT)
    with node.listener(BACKEND, *backend) as listener, node.upstream(ADDRESSES[POD][family], backend) as upstream:
        server, _, peer = accepted(listener)
        with server:
            converse(upstream, server)

    assert ADDRESSES[POD][family] == peer


@both
def test_envoy_reaches_a_backend_elsewhere_from_its_clients_address(node: Lab, family: Family) -> None:
    """The same over the network."""
    backend = (ADDRESSES[OUTSIDE][family], BACKEND_PORT)
    with node.listener(OUTSIDE, *backend) as listener, node.upstream(ADDRESSES[POD][family], backend) as upstream:
        server, _, peer = accepted(listener)
        with server:
            converse(upstream, server)

    assert ADDRESSES[POD][family] == peer


@both
def test_envoy_reaches_a_process_of_the_node_from_its_clients_address(node: Lab, family: Family) -> None:
    """Its replies, which the node routes to the pod, are turned round on the way."""
    backend = (ADDRESSES[NODE][family], BACKEND_PORT)
    with node.listener(NODE, *backend) as listener, node.upstream(ADDRESSES[POD][family], backend) as upstream:
        server, _, peer = accepted(listener)
        with server:
            converse(upstream, server)

    assert ADDRESSES[POD][family] == peer


@both
def test_a_connection_that_envoy_has_in_a_pods_name_is_not_the_pods_too(node: Lab, family: Family) -> None:
    """From the same port to the same backend the pod waits until Envoy's is closed; Envoy's is not disturbed."""
    backend = (ADDRESSES[BACKEND][family], BACKEND_PORT)
    before = node.count(Reason.DROP_TAKEN, FROM_WORKLOAD)
    with node.listener(BACKEND, *backend) as listener, node.endpoint(POD, FAMILIES[family]) as client:
        with node.upstream(ADDRESSES[POD][family], backend, port=46001) as upstream:
            server, _, _ = accepted(listener)
            client.bind(("", 46001))
            client.setblocking(False)
            assert errno.EINPROGRESS == client.connect_ex(backend)
            waits = node.grown(Reason.DROP_TAKEN, FROM_WORKLOAD, before)
            converse(upstream, server)
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.close()
        server, _, peer = accepted(listener)
        with server:
            client.setblocking(True)
            converse(client, server)

    assert waits >= 1
    assert ADDRESSES[POD][family] == peer


@both
def test_a_pod_that_is_its_own_backend_sees_a_stand_in(node: Lab, family: Family) -> None:
    """It would not take a packet from its own address; its replies to the stand-in are Envoy's."""
    own = ADDRESSES[POD][family]
    with node.listener(POD, own, BACKEND_PORT) as listener, node.upstream(own, (own, BACKEND_PORT)) as upstream:
        server, _, peer = accepted(listener)
        with server:
            converse(upstream, server)

    assert SELF[family] == peer


@both
def test_a_port_that_envoy_has_left_is_the_clients_again(node: Lab, family: Family) -> None:
    """A client that uses the port of a connection which Envoy has closed gets the replies to it itself."""
    backend = (ADDRESSES[BACKEND][family], BACKEND_PORT)
    with node.listener(BACKEND, *backend) as listener:
        with node.upstream(ADDRESSES[POD][family], backend, port=46000) as upstream:
            server, _, _ = accepted(listener)
            # With a reset neither side remembers the connection; what the programs have recorded is still there.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            server.close()
            with pytest.raises(ConnectionResetError):
                upstream.recv(1)
        recorded = {(str(flow.destination), flow.destination_port) for flow, _ in node.stand.map(PROXIED_AS).items()}
        assert (ADDRESSES[POD][family], 46000) in recorded
        with node.connect(POD, backend, port=46000) as client:
            server, _, peer = accepted(listener)
            with server:
                converse(client, server)

    assert ADDRESSES[POD][family] == peer


@both
@pytest.mark.parametrize("who", [POD, OUTSIDE, NODE])
def test_the_capture_port_refuses_direct_calls(
    node: Lab, envoy: tuple[socket.socket, ...], family: Family, who: str
) -> None:
    """Nobody is served by calling the port itself, at whatever address of the node."""
    addresses = [ADDRESSES[NODE][family], *([LOOPBACK[family]] if who == NODE else [])]

    assert [True] * len(addresses) == [refused(node, who, (address, CAPTURE_PORT)) for address in addresses]


@both
def test_a_mesh_service_is_not_for_outside(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """Not even where the node has its address, as kube-proxy in IPVS mode gives it: steering asks who comes."""
    length = (32, 128)[family]
    node.ip(NODE, f"addr add {MESH[family]}/{length} dev lo")
    try:
        outcome = refused(node, OUTSIDE, (MESH[family], HTTP))
        inside = asked(node, envoy[family], POD, (MESH[family], HTTP))
    finally:
        node.ip(NODE, f"addr del {MESH[family]}/{length} dev lo")

    assert outcome
    assert ((MESH[family], HTTP), ADDRESSES[POD][family]) == inside


@both
def test_the_rules_of_kube_proxy_change_nothing(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """L6: a DNAT of others for the same address does not see the connection."""
    table, word = ("ip", "ip6")[family], ("ip", "ip6")[family]
    target = f"[{ADDRESSES[BACKEND][1]}]" if family else ADDRESSES[BACKEND][0]
    for hook in ("prerouting", "output"):
        rules = f"""table {table} kube-{hook} {{
          chain nat {{
            type nat hook {hook} priority -100;
            {word} daddr {MESH[family]} tcp dport {HTTP} dnat to {target}:{BACKEND_PORT}
          }}
        }}"""
        run("ip", "netns", "exec", node.name(NODE), "nft", rules)
    try:
        of_pod = asked(node, envoy[family], POD, (MESH[family], HTTP))
        of_process = asked(node, envoy[family], NODE, (MESH[family], HTTP), mark=MARK_TO_PROXY)
    finally:
        for hook in ("prerouting", "output"):
            run("ip", "netns", "exec", node.name(NODE), "nft", "delete", "table", table, f"kube-{hook}")

    assert ((MESH[family], HTTP), ADDRESSES[POD][family]) == of_pod
    assert ((MESH[family], HTTP), ADDRESSES[NODE][family]) == of_process


@both
@pytest.mark.parametrize(("who", "where", "mark"), [(POD, FROM_WORKLOAD, 0), (NODE, FROM_HOST, MARK_TO_PROXY)])
def test_without_envoy_a_connection_waits_and_then_is_refused(
    node: Lab, family: Family, who: str, where: Direction, mark: int
) -> None:
    """Fail closed: for as long as a restart takes nothing is said, later it is refused at once."""
    absence = node.stand.map(ABSENCE)
    absence.put(Index(family), Absence())
    before = node.count(Reason.DROP_AWAIT, where)
    with node.endpoint(who, FAMILIES[family]) as waiting:
        waiting.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        waiting.setblocking(False)
        assert errno.EINPROGRESS == waiting.connect_ex((MESH[family], HTTP))
        dropped = node.grown(Reason.DROP_AWAIT, where, before)
        noticed = absence.get(Index(family))
        absence.put(Index(family), Absence(time.monotonic_ns() - PATIENCE_NS))
        outcome = refused(node, who, (MESH[family], HTTP), mark)

    assert dropped >= 1
    assert noticed is not None
    assert noticed.since_ns > 0
    assert outcome


@both
def test_a_connection_that_waits_is_served_by_the_next_envoy(node: Lab, family: Family) -> None:
    """L5: the client's own retransmission finds the new listener, and its absence is forgotten."""
    absence = node.stand.map(ABSENCE)
    absence.put(Index(family), Absence())
    to = (MESH[family], HTTP)
    with node.endpoint(POD, FAMILIES[family]) as client:
        client.setblocking(False)
        assert errno.EINPROGRESS == client.connect_ex(to)
        with node.capture(FAMILIES[family]) as listener:
            server, local, _ = accepted(listener)
            with server:
                client.setblocking(True)
                converse(client, server)

    assert to == local
    assert Absence() == absence.get(Index(family))


@both
def test_a_connection_outlives_the_listener(node: Lab, family: Family) -> None:
    """An Envoy that drains listens no more; its connections are its own to the end."""
    to = (MESH[family], HTTP)
    listener = node.capture(FAMILIES[family])
    with node.connect(POD, to) as client:
        server, _, _ = accepted(listener)
        listener.close()
        with server:
            converse(client, server)
            server.shutdown(socket.SHUT_WR)

            assert b"" == client.recv(1)


@both
def test_the_second_envoy_takes_over(node: Lab, family: Family) -> None:
    """L4: two listen at once; once the first has closed its socket, every connection is the second's."""
    first, second = node.capture(FAMILIES[family]), node.capture(FAMILIES[family])
    first.close()
    with second:
        seen = [asked(node, second, POD, (MESH[family], HTTP))[0] for _ in range(20)]

    assert [(MESH[family], HTTP)] * 20 == seen


@both
def test_envoy_does_not_reach_itself(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """B10: its own connection to an address that it serves itself goes nowhere, rather than round and round."""
    with node.endpoint(NODE, FAMILIES[family]) as upstream:
        upstream.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK_FROM_PROXY)
        upstream.setblocking(False)
        before = node.count(Reason.DROP_LOOP, FROM_HOST)
        upstream.connect_ex((ADDRESSES[NODE][family], NODE_PORT))
        dropped = node.grown(Reason.DROP_LOOP, FROM_HOST, before)

    assert dropped >= 1


@both
def test_a_process_that_listens_where_a_service_is_does_not_get_its_connections(node: Lab, family: Family) -> None:
    """Without Envoy they are refused, not given to who happens to listen at the port."""
    node.serve(MESH[family], 8888, ServiceFlag.PROXY)
    node.stand.map(ABSENCE).put(Index(family), Absence(time.monotonic_ns() - PATIENCE_NS))
    with node.listener(NODE, ("0.0.0.0", "::")[family], 8888):
        outcome = refused(node, POD, (MESH[family], 8888))

    assert outcome


@both
def test_a_pod_reaches_a_pod_directly(node: Lab, family: Family) -> None:
    """What is no service's is untouched."""
    backend = (ADDRESSES[BACKEND][family], BACKEND_PORT)
    with node.listener(BACKEND, *backend) as listener, node.connect(POD, backend) as client:
        server, _, peer = accepted(listener)
        with server:
            converse(client, server)

    assert ADDRESSES[POD][family] == peer


@both
def test_a_handshake_may_end_with_a_cookie(node: Lab, family: Family) -> None:
    """Nothing was kept of its beginning: the listener is looked for when it ends, and is found."""
    node.sysctl(NODE, "ipv4/tcp_syncookies", "2")
    try:
        with node.capture(FAMILIES[family]) as listener:
            seen = [asked(node, listener, POD, (MESH[family], HTTP))[0] for _ in range(5)]
    finally:
        node.sysctl(NODE, "ipv4/tcp_syncookies", "1")

    assert [(MESH[family], HTTP)] * 5 == seen


@both
def test_a_smaller_link_on_the_way_is_found(node: Lab, envoy: tuple[socket.socket, ...], family: Family) -> None:
    """A router that cannot pass Envoy's packet tells the service's address, and Envoy's connection learns of it."""
    before = node.count(Reason.STEERED_ERROR, Direction.FROM_NETWORK)
    far = ("198.51.101.9", "2001:db8:a::9")[family]
    with node.behind_outside(far, mtu=1300) as who, node.connect(who, (GATEWAY[family], HTTPS)) as client:
        server, _, peer = accepted(envoy[family])
        with server:
            converse(server, client)

    assert far == peer
    assert node.count(Reason.STEERED_ERROR, Direction.FROM_NETWORK) > before


def test_more_listeners_than_there_are_places_for_are_told(node: Lab) -> None:
    """Of 17 the last is not selected by us; its group of the port gets its share of the others' connections."""
    before = node.count(Reason.LISTENERS_FULL, Direction.LISTEN)
    with ExitStack() as stack:
        listeners = [stack.enter_context(node.capture(FAMILIES[0])) for _ in range(LISTENERS_PER_FAMILY + 1)]
        after = node.count(Reason.LISTENERS_FULL, Direction.LISTEN)
        for listener in listeners[1:]:
            listener.close()
        seen = asked(node, listeners[0], POD, (MESH[0], HTTP))

    assert 1 == after - before
    assert ((MESH[0], HTTP), ADDRESSES[POD][0]) == seen
