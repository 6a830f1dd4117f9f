"""What the walk-through changes while requests flow, and what must be seen then.

Each edit is undone before its step ends, also when the step fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from xds_server.demo.steps import DEDICATED, GATEWAY, SHARED, Step, World, fetched, whose

PATIENCE_S = 10.0
BETWEEN_S = 0.02

LIVE = "gateway-live.yaml"
WEBPOD = "        - name: webpod\n          port: 80\n"
RATINGS = "        - name: ratings\n          port: 9080\n"

BROKEN = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: broken
spec:
  parentRefs: [{name: my-gateway}]
  rules:
    - matches: [{path: {type: RegularExpression, value: "/([a-z"}}]
      backendRefs: [{name: no-such-service, port: 1}]
---
kind: [this, is: not YAML
"""

asked_live = fetched(GATEWAY, "http://live.example.com/ratings/1", {})
asked_moved = fetched(SHARED, "http://dedicated.example.com/", {})


async def eventually(expected: str, seen: Callable[[], Awaitable[str]], patience_s: float = PATIENCE_S) -> str:
    """What is seen when it is first as expected, or in the end."""
    last = ""
    try:
        async with asyncio.timeout(patience_s):
            while (last := await seen()) != expected:
                await asyncio.sleep(BETWEEN_S)
    except TimeoutError:
        pass
    return last


@contextmanager
def edited(path: Path, edit: Callable[[str], str]) -> Iterator[None]:
    """The file in another wording, for a while."""
    before = path.read_text()
    after = edit(before)
    if after == before:
        raise LookupError(f"{path} does not read as the walk-through expects: restore it")
    replace(path, after)
    try:
        yield
    finally:
        replace(path, before)


@contextmanager
def added(path: Path, text: str) -> Iterator[None]:
    replace(path, text)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def removed(path: Path) -> Iterator[None]:
    before = path.read_text()
    path.unlink()
    try:
        yield
    finally:
        replace(path, before)


def replace(path: Path, text: str) -> None:
    """At once, as editors do: no reader sees half a file."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)


@asynccontextmanager
async def steady(world: World) -> AsyncIterator[list[str]]:
    """Requests that no edit concerns, one after the other while the context lasts; what went wrong is listed."""
    answers: list[str] = []
    asked = fetched(GATEWAY, "http://gateway.example.com/details/1", {})

    async def ask() -> None:
        while True:
            try:
                answers.append(await asked(world))
            except OSError as fault:
                answers.append(f"no answer: {fault}")

    asking = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def backend_changed(world: World) -> str:
    with edited(world.directory / LIVE, lambda text: text.replace(WEBPOD, RATINGS)):
        there = await eventually("200 ratings", lambda: asked_live(world))
    back = await eventually("200 webpod", lambda: asked_live(world))
    return f"{there}, then {back}"


async def route_removed(world: World) -> str:
    with removed(world.directory / LIVE):
        there = await eventually("404 from Envoy", lambda: asked_live(world))
    back = await eventually("200 webpod", lambda: asked_live(world))
    return f"{there}, then {back}"


async def broken_added(world: World) -> str:
    """A later edit is the proof that the bad file has been read and done no harm."""
    with added(world.directory / "broken.yaml", BROKEN):
        return await backend_changed(world)


async def file_half_written(world: World) -> str:
    """The file loses its end, as when an editor is killed; its route is served on, and so are edits elsewhere."""
    dedicated = world.directory / "ingress-dedicated.yaml"
    half = fetched(DEDICATED, "http://dedicated.example.com/", {})
    with edited(dedicated, lambda text: text[: text.index("pathType")] + "pathTy"):
        changed = await backend_changed(world)
        return f"{changed}; {await half(world)}"


async def dedicated_shared(world: World) -> str:
    """W5: switching the annotation back moves the Ingress to the shared address."""

    async def where() -> str:
        return f"{await whose(DEDICATED)(world)}: {await asked_moved(world)}"

    with edited(
        world.directory / "ingress-dedicated.yaml",
        lambda text: text.replace("loadbalancer-mode: dedicated", "loadbalancer-mode: shared"),
    ):
        there = await eventually("the shared one: 200 webpod", where)
    await eventually("its own: 200 productpage", where)
    return there


async def undisturbed(world: World) -> str:
    async with steady(world) as answers:
        for edit in (backend_changed, route_removed, broken_added):
            await edit(world)
    failed = [answer for answer in answers if answer != "200 details"]
    return f"0 failed of {len(answers)}" if answers and not failed else f"{len(failed)} failed, first: {failed[:1]}"


def none_failed(expected: str, seen: str) -> bool:
    return seen.startswith(expected + " of ")


EDITS: tuple[Step, ...] = (
    Step("edit", f"{LIVE}: another backend, and back", GATEWAY, "200 ratings, then 200 webpod", backend_changed),
    Step("delete", f"{LIVE} deleted, and restored", GATEWAY, "404 from Envoy, then 200 webpod", route_removed),
    Step("bad file", "broken.yaml added; then the edit above", GATEWAY, "200 ratings, then 200 webpod", broken_added),
    Step(
        "half file",
        "ingress-dedicated.yaml cut short; the edit above; then GET http://dedicated.example.com/",
        DEDICATED,
        "200 ratings, then 200 webpod; 200 webpod",
        file_half_written,
    ),
    Step("W5", "its annotation says shared: its address", DEDICATED, "the shared one: 200 webpod", dedicated_shared),
    Step(
        "no loss",
        "GET http://gateway.example.com/details/1 all the while",
        GATEWAY,
        "0 failed",
        undisturbed,
        none_failed,
    ),
)
