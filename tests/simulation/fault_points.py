"""A fault at each event of each story in turn: what is done to the API server, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple

from tests.kube_api import Fault, KubeApi, Refusal, Stale
from tests.simulation.edits import Serve, kind_of, stories
from tests.simulation.replica import SERVED, edited, end_state, replica, returned, served, vanished
from tests.simulation.virtual_time import simulated
from tests.soak import SOAK

GAP_S: Final = 2.0
"""Between edits: enough to be done with one where nothing goes wrong, and not where something does."""
DEFINED_S: Final = 15.0
"""After a change of a definition, which is noticed in 10 s."""
REST_S: Final = 160.0
"""After the last: a silent watch is cut after 75 s, and no back-off of an error that passes is above 30 s."""
SOON_S: Final = 160.0 if SOAK else 25.0
"""After the last, where everything is as it should be by then."""

SETTLED_S: Final = 10.0
"""Before the first edit."""

AWAY_EDITS: Final = 8
AWAY_S: Final = 20.0
"""With the last edits: longer than a Lease lasts."""
LONGEST_BACK_OFF_S: Final = 45.0

Script = Sequence[tuple[str, Fault]]
"""Verbs of requests for the resource of the event, and what happens to them, in order."""

EVENTS: Final[Mapping[str, Script]] = {
    "410": [("event", "gone")],
    "410, list 429": [("event", "gone"), ("list", Refusal(429, "TooManyRequests", retry_after_s="7"))],
    "410, list 500": [("event", "gone"), ("list", Refusal(500)), ("list", Refusal(503))],
    "410, list 410": [("event", "gone"), ("list", Refusal(410, "Expired"))],
    "410, list cut": [("event", "gone"), ("list", "cut")],
    "410, list silent": [("event", "gone"), ("list", "silent")],
    "410, stale list": [("event", "gone"), ("list", Stale(2))],
    "410, stale lists": [("event", "gone"), *[("list", Stale(10_000))] * 3],
    "error 500": [("event", "error")],
    "cut": [("event", "cut")],
    "cut, watch 410": [("event", "cut"), ("watch", Refusal(410, "Expired"))],
    "cut, watch 429": [("event", "cut"), ("watch", Refusal(429, "TooManyRequests", retry_after_s="11"))],
    "cut, watch 500": [("event", "cut"), ("watch", Refusal(500)), ("watch", Refusal(500))],
    "cut, away": [("event", "cut"), ("watch", "cut"), ("watch", "cut"), ("watch", "cut")],
    "cut, watch silent": [("event", "cut"), ("watch", "silent"), ("watch", "silent")],
    "silent": [("event", "silent")],
    "duplicate": [("event", "duplicate")],
    "reordered": [("event", "reorder")],
    "older again": [("event", "older")],
}
LIKE_ANOTHER: Final = frozenset(
    {"410, list 410", "410, list cut", "410, list silent", "410, stale list", "cut, watch 500", "cut, watch silent"}
)
DISCOVERY: Final[Mapping[str, Script]] = {
    "discovery 500": [("discover", Refusal(500))],
    "discovery 429": [("discover", Refusal(429, retry_after_s="5"))],
    "discovery cut": [("discover", "cut"), ("discover", "cut")],
    "discovery silent": [("discover", "silent")],
}
WRITES: Final[Mapping[str, Fault]] = {
    "409": Refusal(409, "Conflict"),
    "429": Refusal(429, "TooManyRequests", retry_after_s="3"),
    "500": Refusal(500),
    "403": Refusal(403, "Forbidden"),
    "cut": "cut",
    "lose": "lose",
    "silent": "silent",
}


class Point(NamedTuple):
    """`resource` is whose requests are disturbed from the event of this number on."""

    story: str
    number: int
    resource: str
    script: tuple[tuple[str, Fault], ...]


End = dict[str, Any]


class Run(NamedTuple):
    """`writes` are the resources written after each event; `left` are faults that did not happen."""

    end: End
    writes: tuple[frozenset[tuple[str, str]], ...]
    left: int


def run(story: str, *points: Point) -> Run:
    """A story from its beginning to rest, with these faults."""
    return simulated(_run(story, points, undisturbed(story).end if points else None))


async def _run(story: str, points: Sequence[Point], expected: End | None) -> Run:
    writes = []
    async with served() as kube, replica(kube) as (plane, _):
        await asyncio.sleep(SETTLED_S)
        for number, edit in enumerate(stories()[story]):
            for point in points:
                if point.number == number:
                    for verb, fault in point.script:
                        kube.script(point.resource, verb, fault)
            before = len(kube.writes)
            edited(kube, edit)
            await asyncio.sleep(DEFINED_S if isinstance(edit, Serve) else GAP_S)
            writes.append(frozenset(_written(kube, before)))
        await asyncio.sleep(SOON_S)
        if kube.scripted() or end_state(kube, plane) != expected:
            await asyncio.sleep(REST_S - SOON_S)
        return Run(end_state(kube, plane), tuple(writes), kube.scripted())


def run_with_a_kill(story: str, at: int) -> Run:
    """A story in whose middle the replica dies, some moments after an edit, and another is started."""
    return simulated(_run_with_a_kill(story, at))


async def _run_with_a_kill(story: str, at: int) -> Run:
    edits = stories()[story]
    async with served() as kube:
        async with replica(kube) as (_, api):
            await asyncio.sleep(SETTLED_S)
            for edit in edits[:at]:
                edited(kube, edit)
                await asyncio.sleep(DEFINED_S if isinstance(edit, Serve) else GAP_S)
            edited(kube, edits[at])
            await asyncio.sleep(at % 5 / 20)
            await vanished(api)
        async with replica(kube, "two") as (plane, _):
            for edit in edits[at + 1 :]:
                edited(kube, edit)
                await asyncio.sleep(DEFINED_S if isinstance(edit, Serve) else GAP_S)
            await asyncio.sleep(SOON_S)  # the Lease of the dead one included
            return Run(end_state(kube, plane), (), kube.scripted())


def run_with_a_partition(story: str, at: int) -> tuple[Run, Run]:
    """A story with two replicas, of which the leader cannot reach the API server for a while after an edit."""
    return simulated(_run_with_a_partition(story, at))


async def _run_with_a_partition(story: str, at: int) -> tuple[Run, Run]:
    async with served() as kube, replica(kube) as one, replica(kube, "two") as two:
        await asyncio.sleep(SETTLED_S)
        for number, edit in enumerate(stories()[story]):
            if number == at:
                await vanished(one.api)
            if number == at + AWAY_EDITS:
                await returned(kube, one.api)
            edited(kube, edit)
            await asyncio.sleep(DEFINED_S if isinstance(edit, Serve) else GAP_S)
        await asyncio.sleep(AWAY_S)
        if at + AWAY_EDITS >= len(stories()[story]):
            await returned(kube, one.api)
        await asyncio.sleep(SOON_S + LONGEST_BACK_OFF_S)
        left = kube.scripted()
        return Run(end_state(kube, one.plane), (), left), Run(end_state(kube, two.plane), (), left)


def _written(kube: KubeApi, before: int) -> list[tuple[str, str]]:
    verbs = {"PUT": "update", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
    return [(asked.resource, verbs[asked.method]) for asked in kube.writes[before:]]


@cache
def undisturbed(story: str) -> Run:
    return run(story)


def event_points(story: str, fault: str) -> list[Point]:
    """At each event of the story that is one of an object."""
    return [
        Point(story, number, SERVED[kind_of(edit)].plural, tuple(EVENTS[fault]))
        for number, edit in enumerate(stories()[story])
        if not isinstance(edit, Serve)
    ]


def discovery_points(fault: str) -> list[Point]:
    """At each change of a definition."""
    return [
        Point("definitions", number, SERVED[edit.kind].group, tuple(DISCOVERY[fault]))
        for number, edit in enumerate(stories()["definitions"])
        if isinstance(edit, Serve)
    ]


def write_points(story: str, fault: str) -> list[Point]:
    """At each event after which something is written, leadership included."""
    return [
        Point(story, number, resource, ((verb, WRITES[fault]),))
        for number, written in enumerate(undisturbed(story).writes)
        for resource, verb in sorted(written)
    ]


def random_points(story: str, seed: int) -> tuple[Point, ...]:
    """Some faults, of any kind and at any event."""
    draw = Random(seed)
    names = draw.sample(sorted(EVENTS), 4)
    writes = draw.sample(sorted(WRITES), 2)
    each = [event_points(story, name) for name in names] + [write_points(story, name) for name in writes]
    return tuple(draw.choice(points) for points in each if points)
