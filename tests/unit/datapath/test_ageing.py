"""What is remembered of connections: it goes when they are over, all of it together, and nothing else goes."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from datapath.ageing import Ageing, life_s, look, state, translated_by
from datapath.kernel.layout import Connection, Flow, Progress, Reason, Translation
from tests.unit.datapath.tables import Table

NODE, CLIENT, SERVICE, OTHER, BACKEND = map(
    ip_address, ("192.0.2.1", "198.51.100.7", "203.0.113.10", "203.0.113.11", "10.2.0.8")
)
OPEN = Progress.REPLIED | Progress.ESTABLISHED
NOW_S = 100_000
TCP, UDP = 6, 17


class Kernel:
    """The two maps, and who looks at them."""

    def __init__(self) -> None:
        self.connections: Table[Flow, Connection] = Table("connections")
        self.translations: Table[Flow, Translation] = Table("translations")
        self.ageing = Ageing(self.connections, self.translations)

    def connection(
        self,
        port: int,
        idle_s: int,
        progress: int = OPEN,
        *,
        protocol: int = TCP,
        node_port: int = 0,
        to: object = SERVICE,
    ) -> Flow:
        """As the programs write it."""
        flow = Flow(CLIENT, to, port, 80, protocol)  # type: ignore[arg-type]
        entry = Connection(BACKEND, 8080, 1, 1, 0, NODE if node_port else None, node_port)
        seen_s = (NOW_S - idle_s) % 2**32
        self.connections.content[flow] = entry
        first, *more = translated_by(flow, entry)
        self.translations.content[first] = Translation(CLIENT, port, Reason.RETURNED, progress, seen_s)
        for key in more:
            self.translations.content[key] = Translation(NODE, node_port, Reason.MASQUERADED, 0, 0)
        return flow

    def sweep(self, now_s: int = NOW_S) -> list[Flow]:
        return [each.flow for each in self.ageing.sweep(lambda: now_s)]

    def flows(self) -> list[int]:
        return sorted(flow.source_port for flow in self.connections.content)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.mark.parametrize(
    ("progress", "protocol", "seconds", "word"),
    [
        (0, TCP, 30, "opening"),
        (Progress.REPLIED, TCP, 30, "opening"),
        (OPEN, TCP, 7440, "established"),
        (OPEN | Progress.CLIENT_CLOSED, TCP, 120, "closing"),
        (OPEN | Progress.BACKEND_CLOSED, TCP, 120, "closing"),
        (OPEN | Progress.CLOSED, TCP, 60, "closing"),
        (Progress.CLOSED, TCP, 60, "closing"),
        (Progress.REPLIED, UDP, 30, "opening"),
        (OPEN, UDP, 180, "established"),
    ],
)
@pytest.mark.parametrize("node_port", [0, 61000])
def test_a_connection_is_kept_for_as_long_as_its_progress_says(
    kernel: Kernel, progress: int, protocol: int, seconds: int, word: str, node_port: int
) -> None:
    """Then it goes with all that is translated for it, and is counted by what it was."""
    if node_port and progress & Progress.CLOSED == Progress.CLOSED:
        seconds = 10  # others need the port
    kernel.connection(1, seconds - 1, progress, protocol=protocol, node_port=node_port)
    over = kernel.connection(2, seconds, progress, protocol=protocol, node_port=node_port + 1 if node_port else 0)

    assert [over] == kernel.sweep()
    assert [1] == kernel.flows()
    assert (3 if node_port else 1) == len(kernel.translations.content)
    assert ({word: 1}, {word: 1}) == (kernel.ageing.states, kernel.ageing.aged)
    assert (seconds, word) == (life_s(progress, protocol, masqueraded=node_port > 0), state(progress))


def test_what_goes_on_while_others_are_looked_at_stays(kernel: Kernel) -> None:
    """A packet of it has come since it was read."""
    flow = kernel.connection(1, 8000)
    [key] = kernel.translations.content
    read = kernel.translations.items

    def overtaken() -> Iterable[tuple[Flow, Translation]]:
        found = read()
        kernel.translations.content[key] = kernel.translations.content[key]._replace(seen_s=NOW_S)
        return found

    kernel.translations.items = overtaken  # type: ignore[method-assign]

    assert [] == kernel.sweep()
    assert flow in kernel.connections.content


def test_what_two_connections_have_in_common_stays_with_the_one_that_stays(kernel: Kernel) -> None:
    """Of two services with one backend, from one port of a client."""
    over = kernel.connection(1, 8000, node_port=61000)
    kept = kernel.connection(1, 5, node_port=61001, to=OTHER)

    assert [over] == kernel.sweep()
    assert set(translated_by(kept, kernel.connections.content[kept])) == set(kernel.translations.content)


def test_half_of_a_connection_goes_at_the_second_look(kernel: Kernel) -> None:
    """At the first one it may be that the other half is being written."""
    whole, lost, taken = (kernel.connection(port, 5, node_port=61000 + port) for port in (1, 2, 3))
    keys = {flow: translated_by(flow, kernel.connections.content[flow]) for flow in (whole, lost, taken)}
    del kernel.connections.content[lost]
    theirs = kernel.translations.content[keys[taken][0]]
    kernel.translations.content[keys[taken][0]] = theirs._replace(port=9)

    assert [] == kernel.sweep()
    assert (2, 9) == (len(kernel.connections.content), len(kernel.translations.content))

    for _ in range(3):
        kernel.sweep()

    assert [whole] == list(kernel.connections.content)
    assert set(keys[whole]) == set(kernel.translations.content)
    assert (1 + 3 + 3, {"established": 1}) == (kernel.ageing.lone, kernel.ageing.states)


def test_seconds_begin_anew(kernel: Kernel) -> None:
    """After 136 years, or right after the machine's start in a test of that."""
    flow = kernel.connection(1, 0)
    kernel.translations.content = {
        key: entry._replace(seen_s=2**32 - 10) for key, entry in kernel.translations.content.items()
    }

    assert [] == kernel.sweep(7000)
    assert [flow] == kernel.sweep(7430)


def test_nothing_is_nothing() -> None:
    """A node on which everything is chosen by sockets has no such connections."""
    found = look({}, {}, NOW_S)

    assert (0, (), frozenset()) == (found.states.total(), found.over, found.lone)
