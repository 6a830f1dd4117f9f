"""B2: the edit of one route in its file, until its first byte is on the wire, and until a real Envoy serves it."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import world
from tests.bench.envoy import Envoy, Probe
from tests.bench.measures import Figure, Sizes, against_itself, interval, milliseconds, ratio, say
from tests.bench.process import Process
from tests.bench.stand import Plane, backend, sample
from xds_server.model.resource import ROUTE_CONFIGURATION, VIRTUAL_HOST

EDITED = 3
STEPS = (
    ("the file is noticed", "edit", "scan begins"),
    ("read and checked", "scan begins", "scan ends"),
    ("the loop wakes", "scan ends", "commit begins"),
    ("ingestion and translation", "commit begins", "publish begins"),
    ("the table changes", "publish begins", "publish ends"),
    ("first byte on the wire", "publish ends", "first byte"),
)


class Edited:
    """One world behind one Envoy, edited; and beside it an Envoy to which the same bytes are replayed."""

    def __init__(self, stack: ExitStack, directory: Path, count: int, port: int, number: int, rest_s: float) -> None:
        self.count, self._port = count, port
        manifests = world.write(directory / f"world-{number}", count, port, number)
        self.plane = Plane(stack, directory, manifests, count, number, rest_s)
        self.own: list[float] = []
        self.visible: list[float] = []
        self.replayed: list[float] = []
        self.steps: dict[str, list[float]] = {step: [] for step, _, _ in STEPS}
        self.errors = 0
        self._revision = 0
        self._hostname = world.hostname(EDITED)
        other = world.address(number + 1)
        self.plane.swarm.quiet()
        tape = self.plane.recording(directory / f"recording-{number}", other)
        replay = directory / f"replay-{number}.sock"
        self._replay = stack.enter_context(Process("replay", tape, replay, core=0))
        self._probes = []
        for xds, address in ((self.plane.socket, self.plane.address), (replay, other)):
            stack.enter_context(Envoy(xds, directory / f"envoy-{address}", address))
            probe = Probe(address, world.PORT + world.OFFSET)
            stack.callback(probe.close)
            probe.until_served(sample(count))
            self._probes.append(probe)

    def edit(self) -> None:
        """Change the route's file, and see what becomes of it; then write the same bytes to the other Envoy."""
        self.plane.rest()
        self._revision += 1
        revision = f"{self._revision:04}"
        text = world.application(EDITED, self._port, revision=revision)
        client, messages = self.plane.client, len(self.plane.client.messages)
        began = time.monotonic()
        world.edit(world.path(self.plane.manifests, EDITED), text)
        seen, errors = self._probes[0].until_seen(self._hostname, revision)
        self.errors += errors
        self.visible.append(seen - began)
        self.plane.swarm.until(lambda: len(client.messages) > messages, "an edit")
        payload = client.messages[messages].payload
        assert client.messages[messages].type_url in (VIRTUAL_HOST, ROUTE_CONFIGURATION)
        began = time.monotonic()
        self._replay.tell("write", payload=base64.b64encode(payload).decode())
        seen, errors = self._probes[1].until_seen(self._hostname, revision)
        self.errors += errors
        self.replayed.append(seen - began)
        self._replay.answer()

    def time(self) -> None:
        """Change the route's file while nothing else runs, and note when each step begins."""
        self.plane.rest()
        self._revision += 1
        text = world.application(EDITED, self._port, revision=f"{self._revision:04}")
        client, messages = self.plane.client, len(self.plane.client.messages)
        began = time.monotonic()
        world.edit(world.path(self.plane.manifests, EDITED), text)
        self.plane.swarm.until(lambda: len(client.messages) > messages, "an edit")
        marks = {"edit": began, **self.plane.process.ask("marks"), "first byte": client.messages[messages].first}
        for step, first, last in STEPS:
            self.steps[step].append(marks[last] - marks[first])
        self.own.append(marks["first byte"] - marks["edit"])


def measure(sizes: Sizes, directory: Path) -> Iterator[Figure]:
    with ExitStack() as stack:
        port = backend(stack)
        say(f"B2: {sizes.few} and {sizes.many} routes, two Envoys each")
        few = Edited(stack, directory, sizes.few, port, 1, sizes.rest_s)
        many = Edited(stack, directory, sizes.many, port, 3, sizes.rest_s)
        for _ in range(sizes.edits):
            for each in (few, many, many, few):
                each.time()
        for _ in range(sizes.edits // 2):
            for each in (few, many, many, few):
                each.edit()
        yield Figure(
            "B2",
            f"from the edit of a file to the first byte, {sizes.many} routes against {sizes.few}",
            milliseconds(many.own),
            milliseconds(few.own),
            ratio(many.own, few.own),
            2.0,
            f"ratio in {interval(many.own, few.own)}; against itself {against_itself(many.own):.2f}",
        )
        working = [_without_notice(each) for each in (many, few)]
        yield Figure(
            "B2",
            "the same without the wait for the kernel's notice",
            milliseconds(working[0]),
            milliseconds(working[1]),
            ratio(*working),
            2.0,
            f"ratio in {interval(*working)}",
        )
        for step, _, _ in STEPS:
            pair = many.steps[step], few.steps[step]
            yield Figure("B2", f"- {step}", milliseconds(pair[0]), milliseconds(pair[1]), ratio(*pair))
        for each in (few, many):
            yield Figure(
                "B2",
                f"from the edit until Envoy serves it, {each.count} routes; limit: from the write of the same bytes",
                milliseconds(each.visible),
                milliseconds(each.replayed),
                ratio(each.visible, each.replayed),
                None,
                f"longest {max(each.visible) * 1000:.0f} ms; {each.errors} answers other than 200",
            )


def _without_notice(each: Edited) -> list[float]:
    noticed = each.steps[STEPS[0][0]]
    return [own - wait for own, wait in zip(each.own, noticed, strict=True)]
