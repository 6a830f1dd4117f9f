"""Takes out of the kernel what is remembered of connections that have ended, or are silent for too long.

The programs look at a connection when a packet of it comes; this looks at those of which none comes.
All that is remembered of a connection goes together: its backend, and what its packets are translated to, both ways.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn, Protocol, TypeVar

import structlog

from datapath.kernel.layout import (
    CLOSED_S,
    DATAGRAMS_S,
    FREED_S,
    HALF_CLOSED_S,
    OPENING_S,
    SILENT_S,
    Connection,
    Flow,
    Progress,
    Translation,
)

SWEEP_S: Final = 15.0
"""The programs take what is over without being told: this gives memory back, and says so."""

_SECONDS: Final = 1 << 32
_UDP: Final = 17

V_co = TypeVar("V_co", bound=tuple[object, ...], covariant=True)
log = structlog.get_logger("ageing")


class Remembered(Protocol[V_co]):
    """A map that the programs write."""

    def items(self) -> Iterable[tuple[Flow, V_co]]: ...

    def get(self, key: Flow) -> V_co | None: ...

    def delete_all(self, keys: Iterable[Flow]) -> None: ...


def life_s(progress: int, protocol: int, *, masqueraded: bool) -> int:
    """As the programs have it: for how long a connection is kept of which nothing is heard."""
    if progress & Progress.CLOSED == Progress.CLOSED:
        return FREED_S if masqueraded else CLOSED_S
    if not progress & Progress.ESTABLISHED:
        return OPENING_S
    if protocol == _UDP:
        return DATAGRAMS_S
    return HALF_CLOSED_S if progress & Progress.CLOSED else SILENT_S


def idle_s(seen_s: int, now_s: int) -> int:
    """`now_s` is read after the entry, and begins anew after as many seconds as the kernel's."""
    return (now_s - seen_s) % _SECONDS


STATES: Final = ("established", "opening", "closing")


def state(progress: int) -> str:
    """For people, and for metrics."""
    if progress & Progress.CLOSED:
        return "closing"
    return "established" if progress & Progress.ESTABLISHED else "opening"


def translated_by(flow: Flow, connection: Connection) -> tuple[Flow, ...]:
    """The keys of a connection's translations; first the one by which it is known to live."""
    backend, port = connection.address, connection.port
    answered = Flow(backend, flow.source, port, flow.source_port, flow.protocol)
    if not connection.node_port:
        return (answered,)
    returned = Flow(backend, connection.node, port, connection.node_port, flow.protocol)
    masqueraded = Flow(flow.source, backend, flow.source_port, port, flow.protocol)
    return returned, answered, masqueraded


class Aged(NamedTuple):
    """A connection that was forgotten, and when, by the kernel's clock."""

    at_s: int
    flow: Flow
    connection: Connection
    progress: int
    idle_s: int


class Look(NamedTuple):
    """What was found at one time: how many connections are in which state, and what is there for nothing.

    `used` are translations of connections that go on; two connections may have some in common.
    `lone` are halves without the other one: what is being written now looks so, too.
    """

    states: Counter[str]
    over: tuple[Aged, ...]
    used: frozenset[Flow]
    lone: frozenset[Flow]


def look(translations: Mapping[Flow, Translation], connections: Mapping[Flow, Connection], now_s: int) -> Look:
    """Translations are to be read first: those of a connection that begins meanwhile are then not without it."""
    states: Counter[str] = Counter()
    over: list[Aged] = []
    lone: set[Flow] = set()
    used: set[Flow] = set()
    known: set[Flow] = set()
    for flow, connection in connections.items():
        keys = translated_by(flow, connection)
        known.update(keys)
        kept = translations.get(keys[0])
        if kept is None or not is_of(kept, flow, connection):
            lone.add(flow)
            continue
        silent_s = idle_s(kept.seen_s, now_s)
        if silent_s >= life_s(kept.progress, flow.protocol, masqueraded=bool(connection.node_port)):
            over.append(Aged(now_s, flow, connection, kept.progress, silent_s))
        else:
            states[state(kept.progress)] += 1
            used.update(keys)
    return Look(states, tuple(over), frozenset(used), frozenset(lone | (translations.keys() - known)))


def is_of(kept: Translation, flow: Flow, connection: Connection) -> bool:
    """A port of the node may be another client's by now."""
    return not connection.node_port or (kept.address, kept.port) == (flow.source, flow.source_port)


@dataclass(slots=True)
class Ageing:
    """`states` and `translations` are of the last look, `aged` counts by the state that connections were in."""

    connections: Remembered[Connection]
    remembered: Remembered[Translation]
    tell: Callable[[Aged], None] = lambda _: None
    states: Counter[str] = field(default_factory=Counter)
    translations: int = 0
    aged: Counter[str] = field(default_factory=Counter)
    lone: int = 0
    """So many halves were taken away because the other one was gone."""
    _lone_before: frozenset[Flow] = frozenset()

    async def run(self) -> NoReturn:
        while True:
            try:
                gone = await asyncio.to_thread(self.sweep, time.monotonic)
            except OSError as error:
                log.warning("not looked at", error=str(error))
            else:
                for each in gone:
                    self.tell(each)
            await asyncio.sleep(SWEEP_S)

    def sweep(self, clock: Callable[[], float]) -> list[Aged]:
        """What is over is taken away, and what was a lone half at the look before and is it still.

        `clock` is the kernel's, which counts from its start.
        """
        translations = dict(self.remembered.items())
        connections = dict(self.connections.items())
        found = look(translations, connections, int(clock()))
        gone = [each for each in found.over if self._is_unheard(each, translations)]
        lone = found.lone & self._lone_before
        # The connection first: a packet that comes in between would write its translations again.
        self.connections.delete_all([*(each.flow for each in gone), *(lone & connections.keys())])
        keys = {key for each in gone for key in translated_by(each.flow, each.connection)}
        keys = ((keys - found.used) | lone) & translations.keys()
        self.remembered.delete_all(keys)
        self.states, self.translations = found.states, len(translations) - len(keys)
        self.aged = self.aged + Counter(state(each.progress) for each in gone)
        self.lone += len(lone)
        self._lone_before = found.lone - lone
        return gone

    def _is_unheard(self, aged: Aged, translations: Mapping[Flow, Translation]) -> bool:
        """To look at many takes a while, in which one may go on."""
        key = translated_by(aged.flow, aged.connection)[0]
        return self.remembered.get(key) == translations[key]
