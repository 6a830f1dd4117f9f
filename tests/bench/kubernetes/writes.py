"""B3 and B9: a burst of routes, single edits, rest and restart: when it is served, and what was written for it."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import world
from tests.bench.client import Message
from tests.bench.envoy import Envoy, Probe
from tests.bench.kubernetes.applications import Answered, edit, removal, route
from tests.bench.kubernetes.stand import NUMBER, Sizes, Stand, settle, turn_for, turning
from tests.bench.measures import Figure, say
from tests.bench.process import Process
from tests.bench.stand import Plane, sample
from xds_server.controller import HOLD_OFF_S

GATEWAYS = "gateways/status"
ROUTES = "httproutes/status"
MOST_GATEWAY_WRITES = 20
_LONGEST_S = 60.0


def restart(stand: Stand, plane: Plane, sizes: Sizes) -> Iterator[Figure]:
    """What a control plane wrote that began a moment ago, with nothing changed; then what it writes at rest."""
    settle(plane)
    found = stand.writes()
    yield Figure("B9", "writes after a restart without change", f"{sum(found.values())}", "0", _none(found), 0.0)
    stand.cluster.reset_counts()
    say(f"B9: {sizes.rest_s:.0f} s of rest")
    turn_for(plane.swarm, sizes.rest_s)
    found = stand.writes()
    what = f"writes in {sizes.rest_s:.0f} s of rest"
    yield Figure("B9", what, f"{sum(found.values())}", "0", _none(found), 0.0, _listed(found))


def burst(stand: Stand, plane: Plane, probe: Probe, directory: Path, sizes: Sizes) -> Iterator[Figure]:
    """Create many routes at once, and delete them again."""
    first, count = stand.count, sizes.burst
    numbers = range(first, first + count)
    turning(plane.swarm, lambda: stand.back(first + count))
    settle(plane)
    watched = [world.hostname(number) for number in (*numbers[::10], numbers[-1])]
    with ExitStack() as stack:
        replay = Replay(stack, plane, directory, first)
        stand.cluster.reset_counts()
        before = settle(plane)
        messages = len(plane.client.messages)
        say(f"B3: {count} routes at once")

        def create() -> tuple[list[Answered], float, float]:
            made = stand.writer.each(route(number) for number in numbers)
            seen = probe.until_served(watched)
            return made, seen, _counted(stand, first + count)

        made, seen, counted = turning(plane.swarm, create)
        began, ended = min(each.asked for each in made), max(each.answered for each in made)
        results = settle(plane)
        found, sent = stand.writes(), plane.client.messages[messages:]
        replayed = replay.play(merged(sent), watched)
        limit = ended - began + replayed
        yield Figure(
            "B3",
            f"{count} routes more on {first}, from the first create until all are served; "
            "limit: the creates, and one replay of what was sent, by type",
            f"{seen - began:.2f} s",
            f"{limit:.2f} s",
            (seen - began) / limit,
            None,
            f"creates {ended - began:.2f} s, replay {replayed:.2f} s; "
            f"served {seen - ended:.2f} s after the last create, attachedRoutes right after {counted - ended:.2f} s",
        )
    allowed = (max(message.last for message in sent) - began) / HOLD_OFF_S
    updates = max(Counter(message.type_url for message in sent).values())
    what = f"updates of one type that were sent, of one in {HOLD_OFF_S * 1000:.0f} ms"
    yield Figure("B3", what, f"{updates}", f"{allowed:.0f}", updates / allowed, 1.0, f"{len(sent)} responses")
    since = {result: n - before.get(result, 0) for result, n in results.items() if n > before.get(result, 0)}
    yield from _route_writes(f"{count} creates", found, count, _listed(since))
    most = MOST_GATEWAY_WRITES * count / 1000
    gateways = found.get(GATEWAYS, 0)
    yield Figure("B9", f"Gateway writes for {count} creates", f"{gateways}", f"{most:g}", gateways / most, 1.0)
    began = time.monotonic()
    gone = turning(plane.swarm, lambda: _delete(stand, range(first, first + count)))
    yield Figure("B3", f"{count} routes deleted, until attachedRoutes is right", f"{gone - began:.2f} s")


def edits(stand: Stand, plane: Plane, sizes: Sizes) -> Iterator[Figure]:
    """Change the rules of routes, one a commit."""
    settle(plane)
    stand.cluster.reset_counts()
    say(f"B9: {sizes.edits} edits")

    def change() -> None:
        for number in range(sizes.edits):
            stand.writer.each([edit(number, "0001")])

    turning(plane.swarm, change)
    settle(plane)
    found = stand.writes()
    yield from _route_writes(f"{sizes.edits} edits", found, sizes.edits, _listed(found))


def merged(sent: list[Message]) -> list[bytes]:
    """One response for each type: encoded messages that follow one another are their merger."""
    by_type: dict[str, list[bytes]] = {}
    for message in sent:
        by_type.setdefault(message.type_url, []).append(message.payload)
    return [b"".join(payloads) for payloads in by_type.values()]


class Replay:
    """An Envoy that got what another has, to which more of the same can be written."""

    def __init__(self, stack: ExitStack, plane: Plane, directory: Path, count: int) -> None:
        tape = plane.recording(directory / "burst.tape", world.address(NUMBER + 1))
        xds = directory / "burst.sock"
        self._process = stack.enter_context(Process("replay", tape, xds, core=0))
        stack.enter_context(Envoy(xds, directory / "burst-envoy", "burst"))
        self._probe = Probe(world.address(NUMBER + 1), world.PORT + world.OFFSET)
        stack.callback(self._probe.close)
        self._probe.until_served(sample(count))

    def play(self, payloads: list[bytes], watched: list[str]) -> float:
        """Seconds until all that is watched is served."""
        began = time.monotonic()
        for payload in payloads:
            self._process.ask("write", payload=base64.b64encode(payload).decode())
        return self._probe.until_served(watched) - began


def _counted(stand: Stand, count: int) -> float:
    """When the Gateway first said that it has so many routes."""
    ends = time.monotonic() + _LONGEST_S
    while (found := stand.attached()) != count:
        if time.monotonic() > ends:
            raise TimeoutError(f"attachedRoutes is {found}, not {count}")
        time.sleep(0.02)
    return time.monotonic()


def _delete(stand: Stand, numbers: range) -> float:
    stand.writer.each(removal(number) for number in numbers)
    return _counted(stand, numbers[0])


def _route_writes(what: str, found: dict[str, int], count: int, note: str) -> Iterator[Figure]:
    written = found.get(ROUTES, 0)
    ratio = written / count
    yield Figure("B9", f"route status writes for {what}", f"{written}", f"{count}", ratio, 1.0, note)


def _none(found: dict[str, int]) -> float:
    return float(sum(found.values()))


def _listed(found: dict[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(found.items()))
