"""Services that Envoy does not serve any more: what it has of them it keeps, and all else of them is as without it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest

from datapath.kernel.layout import Direction, Reason, Service, ServiceFlag, ServiceKey
from tests.bpf import frames
from tests.bpf.lab import ADDRESSES, BACKEND, FAMILIES, NODE, OUTSIDE, PATIENCE_S, POD, Lab, inside, run
from tests.bpf.test_steering import Family, accepted, both, converse, converse_at

SERVICE: Final = ("10.96.0.88", "fd00:96::88")
PORT: Final = 80
BACKEND_PORT: Final = 8080
FAR: Final = ("192.0.2.77", "fd00:ff::77")
MTU: Final = 1300
LEAVING: Final = ServiceFlag.LEAVING | ServiceFlag.EXTERNAL
GONE: Final = LEAVING | ServiceFlag.GONE
_TCP_REPAIR: Final = 19
_TCP_REPAIR_QUEUE: Final = 20
_TCP_QUEUE_SEQ: Final = 21
_SEND_QUEUE, _RECEIVE_QUEUE, _NO_QUEUE = 2, 1, 0

left = pytest.mark.parametrize(
    "flags",
    [LEAVING, GONE, ServiceFlag.PROXY, ServiceFlag.LEAVING, ServiceFlag.LEAVING | ServiceFlag.GONE],
    ids=["leaving", "gone", "inside", "leaving inside", "gone inside"],
)
who = pytest.mark.parametrize("who", [POD, OUTSIDE])


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Early demultiplexing would find sockets by itself, until the node's routes change."""
    with Lab(tmp_path_factory.mktemp("bpffs")) as lab:
        lab.sysctl(NODE, "ipv4/ip_early_demux", "0")
        yield lab


@contextmanager
def served(node: Lab, address: str | None, port: int = PORT) -> Iterator[ServiceKey]:
    """By Envoy; what it becomes is forgotten in the end."""
    key = ServiceKey(ip_address(address) if address else None, port, socket.IPPROTO_TCP)
    node.services.put(key, Service(ServiceFlag.PROXY | ServiceFlag.EXTERNAL, 720))
    try:
        yield key
    finally:
        node.services.delete_all([key])


@contextmanager
def rules(node: Lab, name: str, chain: str) -> Iterator[None]:
    there = ("ip", "netns", "exec", node.name(NODE), "nft")
    run(*there, f"table inet {name} {{ chain only {{ {chain} }}; }}")
    try:
        yield
    finally:
        run(*there, "delete", "table", "inet", name)


def kube_proxy(node: Lab, family: Family) -> AbstractContextManager[None]:
    """It leads the service to a backend."""
    kind, backend = ("ip", "ip6")[family], (ADDRESSES[BACKEND][0], f"[{ADDRESSES[BACKEND][1]}]")[family]
    where = f"{kind} daddr {SERVICE[family]} tcp dport {PORT} dnat {kind} to {backend}:{BACKEND_PORT};"
    return rules(node, "kube-proxy", f"type nat hook prerouting priority dstnat; {where}")


@both
@who
@left
@pytest.mark.parametrize("every", [False, True], ids=["its own", "the node's"])
def test_what_envoy_has_it_keeps_until_both_have_closed(
    node: Lab, family: Family, who: str, flags: ServiceFlag, every: bool
) -> None:
    """It closes first, as at the end of a drain: who sends then is told by it, and by nobody else.

    Also at a port of all of the node's addresses.
    """
    address = ADDRESSES[NODE][family] if every else SERVICE[family]
    astray = {Reason.PASS_NO_SERVICE, Reason.PASS_UNDERWAY, Reason.PASS_NOT_EXTERNAL, Reason.REFUSED_NO_CONNECTION}
    with (
        served(node, None if every else address) as key,
        node.capture(FAMILIES[family]) as envoy,
        node.connect(who, (address, PORT)) as client,
    ):
        server, _, _ = accepted(envoy)
        node.services.put(key, Service(flags, 0))
        before = node.counted()
        converse(client, server)
        server.close()
        assert b"" == client.recv(1)
        await_half_closed(node, family, client.getsockname()[1])

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            insist(client)

    grown = {reason for (reason, _), number in node.counted().items() if number > before.get((reason, _), 0)}
    assert set() == grown & astray


@both
@pytest.mark.parametrize("flags", [ServiceFlag.PROXY, ServiceFlag.LEAVING, ServiceFlag.LEAVING | ServiceFlag.GONE])
def test_who_is_outside_keeps_a_connection_of_what_is_not_for_outside_any_more(
    node: Lab, family: Family, flags: ServiceFlag
) -> None:
    """It was opened when it was, and Envoy serves it; a new one is not led there."""
    with (
        served(node, SERVICE[family]) as key,
        node.capture(FAMILIES[family]) as envoy,
        kube_proxy(node, family),
        node.listener(BACKEND, ADDRESSES[BACKEND][family], BACKEND_PORT) as backend,
        node.connect(OUTSIDE, (SERVICE[family], PORT)) as client,
    ):
        server, _, _ = accepted(envoy)
        node.services.put(key, Service(flags, 0))
        converse(client, server)
        with node.connect(OUTSIDE, (SERVICE[family], PORT)) as another:
            converse_at(backend, another)


@both
@pytest.mark.parametrize("flags", [ServiceFlag.PROXY, ServiceFlag.LEAVING, ServiceFlag.LEAVING | ServiceFlag.GONE])
@pytest.mark.parametrize("kind", [frames.RST, frames.ACK | frames.PUSH])
def test_who_is_outside_says_nothing_in_a_pods_name(node: Lab, family: Family, flags: ServiceFlag, kind: int) -> None:
    """A segment that fits, from where the pod is not: Envoy has the connection, and does not hear it."""
    with (
        served(node, SERVICE[family]) as key,
        node.capture(FAMILIES[family]) as envoy,
        node.connect(POD, (SERVICE[family], PORT)) as client,
    ):
        server, _, _ = accepted(envoy)
        converse(client, server)
        node.services.put(key, Service(flags, 0))
        before = node.counted()
        forged = segment(ADDRESSES[POD][family], SERVICE[family], client, kind, b"" if kind == frames.RST else b"evil")
        with inside(node.name(OUTSIDE)), socket.socket(FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(forged, (SERVICE[family], 0))
        converse(client, server)

    seen = {reason for (reason, at), number in node.counted().items() if number > before.get((reason, at), 0)}
    assert seen & {Reason.PASS_NOT_EXTERNAL, Reason.PASS_NO_SERVICE}


def segment(source: str, destination: str, client: socket.socket, kind: int, payload: bytes) -> bytes:
    """The next one of a client."""
    client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
    numbers = []
    for queue in (_SEND_QUEUE, _RECEIVE_QUEUE):
        client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
        numbers.append(client.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, _NO_QUEUE)
    client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, -1)
    port, (sequence, acknowledged) = client.getsockname()[1], numbers
    found = frames.tcp(port, PORT, kind, payload, sequence=sequence, acknowledged=acknowledged)
    addresses = ip_address(source).packed + ip_address(destination).packed
    pseudo = addresses + len(found).to_bytes(4, "big") + socket.IPPROTO_TCP.to_bytes(4, "big")
    summed = frames.checksum(pseudo + found).to_bytes(2, "big")
    build = frames.ipv6 if ":" in source else frames.ipv4
    return build(source, destination, socket.IPPROTO_TCP, found[:16] + summed + found[18:])


def await_half_closed(node: Lab, family: Family, port: int) -> None:
    """Envoy's end has become a socket in TIME_WAIT, which has no owner: its client has acknowledged the end."""
    table, fin_wait2 = ("tcp", "tcp6")[family], "05"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with inside(node.name(NODE)):
            rows = [row.split() for row in Path("/proc/thread-self/net", table).read_text().splitlines()[1:]]
        if any(row[2].endswith(f":{port:04X}") and row[3] == fin_wait2 for row in rows):
            return
        os.sched_yield()
    raise TimeoutError("the client has not acknowledged that Envoy has closed")


def insist(client: socket.socket) -> None:
    while True:
        client.sendall(b"late")


@both
def test_from_a_port_that_envoy_has_still_comes_no_half_of_a_connection(node: Lab, family: Family) -> None:
    """Its client vanished and begins anew: Envoy's connection ends by that, and the new one is the backend's alone."""
    with served(node, SERVICE[family]) as key, node.capture(FAMILIES[family]) as envoy, kube_proxy(node, family):
        client = node.connect(OUTSIDE, (SERVICE[family], PORT), port=40123)
        server, _, _ = accepted(envoy)
        with server, node.listener(BACKEND, ADDRESSES[BACKEND][family], BACKEND_PORT) as listener:
            converse(client, server)
            client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)  # it closes without a word
            client.close()
            node.services.put(key, Service(GONE, 0))
            with node.connect(OUTSIDE, (SERVICE[family], PORT), port=40123) as again:
                converse_at(listener, again)


@both
def test_a_process_that_has_the_port_now_is_behind_the_nodes_firewall_as_ever(node: Lab, family: Family) -> None:
    """Its connections are tracked from their first segment to the last."""
    address, port = ADDRESSES[NODE][family], 8443
    accepts = "ct state established accept; meta l4proto { icmp, icmpv6 } accept; iif lo accept;"
    firewall = f"type filter hook input priority 0; policy drop; {accepts} ct state new tcp dport {port} accept;"
    with served(node, None, port) as key, rules(node, "firewall", firewall):
        node.services.put(key, Service(GONE, 0))
        with node.listener(NODE, address, port) as process, node.connect(OUTSIDE, (address, port)) as client:
            converse_at(process, client)


@both
def test_who_is_gone_hides_nobody_at_every_address_of_the_node(node: Lab, family: Family) -> None:
    """Another service has the port there now."""
    address, port = ADDRESSES[NODE][family], 8444
    with served(node, address, port) as gone, served(node, None, port), node.capture(FAMILIES[family]) as envoy:
        node.services.put(gone, Service(GONE, 0))
        with node.connect(OUTSIDE, (address, port)) as client:
            converse_at(envoy, client)


@both
@pytest.mark.parametrize("has", ["envoy", "kube-proxy"])
def test_errors_are_for_who_has_the_connection(node: Lab, family: Family, has: str) -> None:
    """A path of smaller packets is found, by Envoy or by who kube-proxy leads to."""
    before = node.count(Reason.STEERED_ERROR, Direction.FROM_NETWORK)
    with (
        served(node, SERVICE[family]) as key,
        node.behind_outside(FAR[family], MTU) as far,
        node.capture(FAMILIES[family]) as envoy,
        kube_proxy(node, family),
        node.listener(BACKEND, ADDRESSES[BACKEND][family], BACKEND_PORT) as backend,
    ):
        if has == "kube-proxy":
            node.services.put(key, Service(GONE, 0))
        with node.connect(far, (SERVICE[family], PORT)) as client:
            server, _, _ = accepted(envoy if has == "envoy" else backend)
            node.services.put(key, Service(GONE, 0))
            with server:
                server.sendall(bytes(60_000))
                received = 0
                while received < 60_000:
                    received += len(client.recv(1 << 16))

    assert (has == "envoy") == (node.count(Reason.STEERED_ERROR, Direction.FROM_NETWORK) > before)
