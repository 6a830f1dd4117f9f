"""Connections over real links, steered to the listener in Envoy's place."""

from __future__ import annotations

import os
import socket
import threading
from typing import Final, Self

from datapath.kernel.layout import CAPTURE_PORT, Direction, Reason
from datapath.kernel.programs import load
from tests.kernels.inside.loading import SMALL
from tests.kernels.inside.loading import load as load_verbosely
from tests.kernels.inside.mesh import (
    FAMILIES,
    GATEWAY,
    PORT,
    SERVICE,
    Family,
    Mesh,
    Name,
    address,
    all_programs,
    dial,
    mesh,
    name,
)
from tests.kernels.inside.rig import OBJECTS, Rig, eventually

_CLIENT_PORT: Final = 40001
_SWITCHES: Final = 4


def a_pod_reaches_the_listener_by_the_address_of_a_service(rig: Rig) -> None:
    """Over IPv4 and IPv6 Envoy sees the pod's address as the peer, and the service's as its own."""
    here = mesh(rig)
    before = (
        here.counted(Reason.STEERED, Direction.FROM_WORKLOAD),
        here.counted(Reason.SELECTED, Direction.DELIVERY),
    )
    for family in FAMILIES:
        assert conversation(here, "pod", family, (SERVICE[family], PORT)) == ("asked", "answered")

    assert before[0] < here.counted(Reason.STEERED, Direction.FROM_WORKLOAD)
    assert before[1] + 2 == here.counted(Reason.SELECTED, Direction.DELIVERY)


def a_client_outside_reaches_the_listener_by_the_address_of_a_gateway(rig: Rig) -> None:
    """From the node's uplink too, with the client's own address."""
    here = mesh(rig)
    before = here.counted(Reason.STEERED, Direction.FROM_NETWORK)
    for family in FAMILIES:
        assert conversation(here, "outside", family, (GATEWAY[family], PORT)) == ("asked", "answered")

    assert before < here.counted(Reason.STEERED, Direction.FROM_NETWORK)


def the_same_four_names_work_twice(rig: Rig) -> None:
    """A client that comes back from the same port finds the server's side in TIME_WAIT, and is served."""
    here = mesh(rig)
    for family in FAMILIES:
        for _ in range(2):
            said = conversation(
                here, "pod", family, (SERVICE[family], PORT), port=_CLIENT_PORT, first_to_close="server"
            )
            assert said == ("asked", "answered")


def the_capture_port_refuses_who_calls_it(rig: Rig) -> None:
    """Envoy is reached by steering alone."""
    here = mesh(rig)
    before = here.counted(Reason.REFUSED_CAPTURE_PORT, Direction.DELIVERY)
    refused = []
    for family in FAMILIES:
        try:
            dial("pod", family, (address("pod", family, 1), CAPTURE_PORT)).close()
        except ConnectionRefusedError:
            refused.append(family)

    assert [*FAMILIES] == refused
    assert before + len(FAMILIES) <= here.counted(Reason.REFUSED_CAPTURE_PORT, Direction.DELIVERY)


def programs_are_replaced_under_traffic(rig: Rig) -> None:
    """While pods connect without a pause, every program is replaced many times, and no connection fails."""
    here = mesh(rig)
    programs = all_programs(rig)
    with Stream(here) as stream:
        eventually(lambda: stream.answered > 0, "a first connection")
        for _ in range(_SWITCHES):
            attached = here.attach(programs)
        seen = stream.answered
        eventually(lambda: stream.answered > seen + 1, "connections after the last switch")

    assert [] == stream.failed
    assert {True} == {each.adopted for each in attached if each.link}


def what_is_pinned_outlives_its_loader_and_is_adopted_by_the_next(rig: Rig) -> None:
    """Another process that loads the same objects takes what is pinned, and leaves it when it ends."""
    here = mesh(rig)
    mine = sorted(pin.name for folder in (here.pins.maps, here.pins.links) for pin in folder.iterdir())
    child = os.fork()
    if child == 0:
        os._exit(adopt(here))
    _, status = os.waitpid(child, 0)

    assert 0 == os.waitstatus_to_exitcode(status)
    assert mine == sorted(pin.name for folder in (here.pins.maps, here.pins.links) for pin in folder.iterdir())
    for family in FAMILIES:
        assert conversation(here, "pod", family, (SERVICE[family], PORT)) == ("asked", "answered")


def adopt(here: Mesh) -> int:
    """In a process of its own, which ends without a word."""
    try:
        programs = {**load_verbosely(OBJECTS / "traffic.bpf.o", here.pins, SMALL).programs}
        for kind in ("listen", "steer"):
            programs |= load(OBJECTS / f"{kind}.bpf.o", here.pins).programs
        return 0 if all(each.adopted for each in here.attach(programs) if each.link) else 3
    except BaseException as error:  # noqa: BLE001  (a child must never return into the cases)
        os.write(2, f"adopt: {error!r}\n".encode())
        return 4


def conversation(
    here: Mesh, place: str, family: Family, to: Name, *, port: int = 0, first_to_close: str = "client"
) -> tuple[str, str]:
    """What each side heard, after both have seen the names that they should."""
    client = dial(place, family, to, port)
    server, peer = here.listeners[family].accept()
    with client, server:
        assert to == name(server, "own")
        assert (address(place, family), client.getsockname()[1]) == peer[:2]
        assert to == name(client, "peer")
        client.sendall(b"asked")
        heard = server.recv(16).decode()
        server.sendall(b"answered")
        said = client.recv(16).decode()
        first, second = (server, client) if first_to_close == "server" else (client, server)
        first.shutdown(socket.SHUT_WR)
        second.recv(1)
        second.shutdown(socket.SHUT_WR)
        first.recv(1)
    return heard, said


class Stream:
    """Connections of a pod without a pause, each answered, over both families in turns."""

    def __init__(self, here: Mesh) -> None:
        self._here, self.answered, self._ends = here, 0, threading.Event()
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            family = FAMILIES[self.answered % 2]
            try:
                conversation(self._here, "pod", family, (SERVICE[family], PORT))
            except (OSError, AssertionError) as error:
                self.failed.append(repr(error))
                return
            self.answered += 1
