"""The API server is followed through whatever happens to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.kube_api import DEFAULT, Fault, KubeApi, Object, Refusal, Served, Stale
from tests.unit.kube.following import PATIENT, QUICK, World, following
from xds_server.kube import referenced
from xds_server.kube.kinds import KINDS
from xds_server.kube.referenced import PATIENCE, WATCHED_IN_NAMESPACE
from xds_server.kube.source import KubernetesSource
from xds_server.model.refs import ObjectRef

ROUTES = "httproutes"


def route(name: str, *hostnames: str) -> Object:
    version = "gateway.networking.k8s.io/v1"
    return {"apiVersion": version, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": {"hostnames": [*hostnames]}}


def ref(name: str, kind: str = "HTTPRoute") -> ObjectRef:
    return ObjectRef(kind, "default", name)


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi() as kube:
        yield kube


@pytest.fixture
def world() -> World:
    return World()


def host(world: World, name: str = "web") -> str:
    found = world.objects.get(ref(name))
    return "" if found is None else str(found.spec.hostnames[0])


async def test_what_is_there_is_put_before_anything_is_loaded(kube: KubeApi, world: World) -> None:
    """X15: a source is synced when every kind was listed, in pages, and not before."""
    kube.apply(*(route(f"r{number:04}", "a.example") for number in range(1001)))
    kube.script("services", "list", Refusal(500), Refusal(500))
    async with following(kube, world) as source:
        assert {"EndpointSlice", "HTTPRoute", "Service"} <= set(source.awaited().replace(",", "").split())
        await source.synced.wait()

        assert "" == source.awaited()
        assert 1001 == len(world.names())
        assert 3 == sum(asked.plain == f"GET {ROUTES}" and "watch" not in asked.query for asked in kube.requests)
        assert 2 == world.stats.errors["Service", "server_error"]


async def test_changes_are_followed(kube: KubeApi, world: World) -> None:
    """What is created, changed and deleted arrives, with no list but the first."""
    async with following(kube, world) as source:
        await source.synced.wait()
        kube.apply(route("web", "a.example"))
        await world.until(lambda: host(world) == "a.example")
        kube.apply(route("web", "b.example"))
        await world.until(lambda: host(world) == "b.example")
        kube.delete("HTTPRoute", "default", "web")
        await world.until(lambda: not world.objects)

    assert 1 == world.stats.lists["HTTPRoute"]


@pytest.mark.parametrize("fault", ["gone", "error", "cut", "duplicate", "reorder", "older"])
async def test_a_fault_of_an_event_loses_nothing(kube: KubeApi, world: World, fault: Fault) -> None:
    """After a watch that errs the objects are those of the server, and none of them went back on the way."""
    kube.apply(route("web", "h0.example"))
    async with following(kube, world) as source:
        await source.synced.wait()
        kube.script(ROUTES, "event", fault)
        for number in (1, 2, 3):
            kube.apply(route("web", f"h{number}.example"))
        await world.until(lambda: host(world) == "h3.example")

    seen = [value.spec.hostnames[0] for of, value in world.told if of == ref("web") and value is not None]
    assert sorted(seen) == seen
    assert (0, {}) == (kube.scripted(), {of: value for of, value in world.told if value is None})


async def test_a_silent_watch_is_cut_and_resumed(kube: KubeApi, world: World) -> None:
    """A server that says nothing for too long is asked again from the same place: no list, no error."""
    async with following(kube, world, QUICK) as source:
        await source.synced.wait()
        kube.script(ROUTES, "event", "silent")
        kube.apply(route("web", "a.example"))
        await world.until(lambda: host(world) == "a.example")

    assert 1 == world.stats.lists["HTTPRoute"]
    assert 2 <= world.stats.watches["HTTPRoute"]
    assert {} == world.stats.errors


async def test_a_watch_that_is_not_answered_is_a_failure(kube: KubeApi, world: World) -> None:
    """A server that takes connections and says nothing is away: it is told soon, and all is read when it is back."""
    async with following(kube, world, QUICK._replace(open_s=0.2)) as source:
        await source.synced.wait()
        kube.script(ROUTES, "watch", "silent", "silent", "silent")
        kube.script(ROUTES, "event", "cut")
        kube.apply(route("web", "a.example"))
        await world.until(lambda: host(world) == "a.example")

    assert 1 <= world.stats.errors["HTTPRoute", "unreachable"]


async def test_bookmarks_move_the_place_to_go_on_at(kube: KubeApi, world: World) -> None:
    """After a bookmark a compaction of what came before costs no list."""
    async with following(kube, world) as source:
        await source.synced.wait()
        before = world.stats.events["HTTPRoute"]
        kube.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}})
        kube.bookmark()
        async with asyncio.timeout(30):
            while world.stats.events["HTTPRoute"] == before:
                await asyncio.sleep(0.001)
        kube.compact()
        kube.script(ROUTES, "event", "cut")
        kube.apply(route("web", "a.example"))
        await world.until(lambda: host(world) == "a.example")

    assert 1 == world.stats.lists["HTTPRoute"]


async def test_retry_after_is_respected(kube: KubeApi, world: World) -> None:
    """A server that asks for time gets it."""
    kube.script(ROUTES, "list", Refusal(429, "TooManyRequests", retry_after_s="17"))
    async with following(kube, world) as source:
        await source.synced.wait()

    assert 17.0 in world.pauses
    assert 1 == world.stats.errors["HTTPRoute", "too_many_requests"]


async def test_what_was_deleted_during_an_outage_is_deleted(kube: KubeApi, world: World) -> None:
    """A list tells what is no more, and all kinds are put at once after an outage."""
    kube.apply(route("gone", "a.example"), route("stays", "a.example"))
    async with following(kube, world) as source:
        await source.synced.wait()
        await kube.stop()
        await world.until(lambda: len(source._behind) == len(KINDS))
        kube.delete("HTTPRoute", "default", "gone")
        kube.apply(route("stays", "b.example"), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new"}})
        told = len(world.told)
        assert ["gone", "stays"] == world.names()
        await kube.start()
        await world.until(lambda: world.names() == ["stays"])

    after = world.told[told:]
    assert {ref("gone"), ref("stays"), ref("new", "Service")} == {of for of, _ in after}
    assert "b.example" == host(world, "stays")


async def test_a_stale_list_takes_nothing_back(kube: KubeApi, world: World) -> None:
    """A list that is older than what was seen is read again, and no object disappears meanwhile."""
    async with following(kube, world) as source:
        await source.synced.wait()
        kube.apply(route("web", "a.example"))
        await world.until(lambda: host(world) == "a.example")
        kube.script(ROUTES, "list", Stale(1))
        kube.script(ROUTES, "event", "gone")
        kube.apply(route("web", "b.example"))
        await world.until(lambda: host(world) == "b.example")

    assert [] == [of for of, value in world.told if value is None]
    assert 0 == kube.scripted()


async def test_a_store_that_was_set_back_is_believed_in_the_end(kube: KubeApi, world: World) -> None:
    """A backup that was restored has lower versions for good: after some lists it is what counts."""
    kube.apply(route("web", "old.example"))
    async with following(kube, world) as source:
        await source.synced.wait()
        kube.apply(route("web", "new.example"), route("lost", "a.example"))
        await world.until(lambda: world.names() == ["lost", "web"])
        kube.script(ROUTES, "list", *[Stale(2)] * 4)
        kube.compact()
        kube.script(ROUTES, "event", "gone")
        kube.script(ROUTES, "watch", "silent")
        kube.apply(route("trigger", "a.example"))
        await world.until(lambda: world.stats.lists["HTTPRoute"] == 5)
        await world.until(lambda: "lost" not in world.names())


async def test_an_object_that_cannot_be_read_keeps_its_last_model(kube: KubeApi, world: World) -> None:
    """A field of another type harms its own object only, and is counted once for each version."""
    kube.apply(route("web", "a.example"))
    async with following(kube, world) as source:
        await source.synced.wait()
        kube.apply({**route("web"), "spec": {"hostnames": "b.example"}}, route("other", "c.example"))
        await world.until(lambda: host(world, "other") == "c.example")

        assert ("a.example", 1) == (host(world), source.undecodable()["HTTPRoute"])
        assert 1 == world.stats.undecodable["HTTPRoute"]

        kube.apply(route("web", "d.example"))
        await world.until(lambda: host(world) == "d.example")

        assert 0 == source.undecodable()["HTTPRoute"]


async def test_null_is_as_good_as_nothing(kube: KubeApi, world: World) -> None:
    """An EndpointSlice without endpoints has null for them."""
    slice_ = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web"}}
    kube.apply({**slice_, "addressType": "IPv4", "endpoints": None, "ports": None})
    async with following(kube, world) as source:
        await source.synced.wait()

    assert () == world.objects[ref("web", "EndpointSlice")].endpoints


async def test_observed_is_the_raw_status(kube: KubeApi, world: World) -> None:
    """For kinds whose status is ours to write, version, uid and status are kept as the server has them."""
    kube.apply(route("web", "a.example"))
    async with following(kube, world) as source:
        seen: list[ObjectRef] = []
        source.on_observed = seen.append
        await source.synced.wait()
        kube.set_status("HTTPRoute", "default", "web", {"parents": [{"controllerName": "other/one"}]})
        async with asyncio.timeout(30):
            while not source.observed[ref("web")].status:
                await asyncio.sleep(0.001)
        kube_has = kube.object("HTTPRoute", "default", "web")
        assert kube_has is not None

        observed = source.observed[ref("web")]
        assert b'{"parents":[{"controllerName":"other/one"}]}' == observed.status
        assert ("v1", kube_has["metadata"]["resourceVersion"]) == (observed.version, observed.resource_version)
        assert kube_has["metadata"]["uid"] == observed.uid
        assert {ref("web")} == set(seen)


# --- versions and kinds -----------------------------------------------------------------------------------------------

TLS = next(served for served in DEFAULT if served.kind == "TLSRoute")


def tls_route(name: str) -> Object:
    spec = {"hostnames": ["a.example"], "rules": [{"backendRefs": [{"name": "web", "port": 443}]}]}
    return {"apiVersion": "v1", "kind": "TLSRoute", "metadata": {"name": name}, "spec": spec}


async def test_a_kind_that_is_not_installed_is_empty_until_it_is(world: World) -> None:
    """Nothing waits for it; once it is installed it is read, and once it is removed its objects are gone."""
    kube = KubeApi([served for served in DEFAULT if served.kind != "TLSRoute"])
    async with kube, following(kube, world, QUICK) as source:
        source._discovery._every_s = 0.05
        await source.synced.wait()
        kube.serve(TLS)
        kube.apply(tls_route("web"))
        await world.until(lambda: world.names("TLSRoute") == ["web"])
        kube.unserve("tlsroutes")
        await world.until(lambda: not world.names("TLSRoute"))


async def test_the_next_version_takes_over_without_a_gap(kube: KubeApi, world: World) -> None:
    """When the preferred version is served no more, the objects stay, read by the next."""
    kube.apply(tls_route("web"))
    async with following(kube, world, QUICK) as source:
        source._discovery._every_s = 0.05
        await source.synced.wait()
        assert "v1" == source.observed[ref("web", "TLSRoute")].version
        kube.serve(Served(*TLS._replace(versions=("v1alpha2",))))
        async with asyncio.timeout(30):
            while source.observed[ref("web", "TLSRoute")].version != "v1alpha2":
                await asyncio.sleep(0.001)
        kube.apply(tls_route("later"))
        await world.until(lambda: world.names("TLSRoute") == ["later", "web"])

    assert [] == [of for of, value in world.told if value is None]


# --- Secrets ----------------------------------------------------------------------------------------------------------

SECRET = ref("pair", "Secret")


def secret(name: str = "pair") -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": {"a": "Yg=="}}


async def test_only_secrets_that_are_referred_to_are_asked_for(kube: KubeApi, world: World) -> None:
    """Each by its name, before anything is loaded; what is no more referred to is forgotten at once."""
    kube.apply(secret(), secret("other"))
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await source.synced.wait()
        assert [SECRET] == [of for of in world.objects if of.kind == "Secret"]
        world.wanted = set()
        source.refer()
        assert [] == world.names("Secret")

    asked = {(each.path, each.query.get("fieldSelector")) for each in kube.requests if each.resource == "secrets"}
    assert {("/api/v1/namespaces/default/secrets", "metadata.name=pair")} == asked


async def test_what_the_last_commit_before_loading_refers_to_is_read(kube: KubeApi, world: World) -> None:
    """X15: each commit while loading may refer to more; all of it is answered for, that of `loaded` soon after."""
    kube.apply(*map(secret, ("a", "b", "late")))
    told = []
    async with following(kube, world) as source:

        def commit() -> None:
            told.append((world.names("Secret"), source.awaited()))
            if source.synced.is_set():
                world.wanted = world.wanted | {ref("late", "Secret")}
                source.refer()
            elif len(told) <= 2:
                world.wanted = world.wanted | {ref("ab"[len(told) - 1], "Secret")}

        world.on_commit = commit
        await world.until(lambda: world.names("Secret") == ["a", "b", "late"])

    assert [[], ["a"], ["a", "b"], ["a", "b"]] == [names for names, _ in told]
    assert "" == told[-1][1]


async def test_an_author_who_edits_without_end_does_not_hold_up_the_first_load(kube: KubeApi, world: World) -> None:
    """References that are new at each commit are answered for in a bounded number of rounds."""

    def commit() -> None:
        world.wanted = {ref(f"s{len(kube.requests)}", "Secret")}

    world.on_commit = commit
    async with following(kube, world) as source:
        await source.synced.wait()


async def test_a_secret_is_missing_only_after_an_answer(kube: KubeApi, world: World) -> None:
    """Until then it is not known; then it is not there, is, and is not again."""
    async with following(kube, world) as source:
        await source.synced.wait()
        world.wanted = {SECRET}
        source.refer()
        assert {} == world.missing
        await world.until(lambda: world.missing == {SECRET: "does not exist"})
        kube.apply(secret())
        await world.until(lambda: world.names("Secret") == ["pair"] and not world.missing)
        kube.delete("Secret", "default", "pair")
        await world.until(lambda: world.missing == {SECRET: "does not exist"} and not world.names("Secret"))


async def test_a_secret_that_may_not_be_read_is_told_and_waited_for(kube: KubeApi, world: World) -> None:
    """A right that is missing names what to do, and holds up nothing; when it is given, the Secret arrives."""
    kube.apply(secret())
    kube.script("secrets", "list", Refusal(403, "Forbidden"))
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await source.synced.wait()
        assert "get, list and watch secrets in namespace default" in world.missing.get(SECRET, "") or world.objects
        await world.until(lambda: world.names("Secret") == ["pair"])

    assert {} == world.missing


@pytest.mark.parametrize(
    "name", ["a,b", "pair,metadata.namespace=other", "../../../other/secrets/x", "", "Pair", "a" * 254]
)
async def test_a_name_that_nothing_can_have_is_not_asked_for(kube: KubeApi, world: World, name: str) -> None:
    """A reference is anybody's text: what would be another request is answered here, and holds up nothing."""
    world.wanted = {ref(name, "Secret"), ObjectRef("Secret", "../default", "pair")}
    async with following(kube, world) as source:
        await source.synced.wait()
        assert {"does not exist: no object can have that name"} == set(world.missing.values())
        world.wanted = set()
        source.refer()

    assert ({}, []) == (world.missing, [asked for asked in kube.requests if "secrets" in asked.path])


async def test_a_refusal_that_will_not_change_holds_up_nothing(kube: KubeApi, world: World) -> None:
    """Of Secrets alone: an answer 400 to one object's list says that this object is not to be had."""
    kube.script("secrets", "list", *[Refusal(400, "BadRequest")] * 3)
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await source.synced.wait()

    assert "cannot be read: the API server answers 400" == world.missing[SECRET]


async def test_a_secret_that_can_never_be_read_holds_up_nothing_else(kube: KubeApi, world: World) -> None:
    """S18: after some attempts there is an answer for it, and when it can be read after all, it arrives."""
    kube.apply(secret())
    kube.script("secrets", "list", *[Refusal(500, "InternalError")] * 12)
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await source.synced.wait()
        assert {SECRET: "cannot be read: the API server answers 500"} == world.missing
        assert PATIENCE <= world.stats.errors["Secret", "server_error"] < 12
        await world.until(lambda: world.names("Secret") == ["pair"])

    assert {} == world.missing


async def test_a_token_that_is_refused_says_nothing_of_a_secret(kube: KubeApi, world: World) -> None:
    """401 is no word on the object: tokens expire, and the next one may read it."""
    kube.apply(secret())
    kube.script("secrets", "list", *[Refusal(401, "Unauthorized")] * 3)
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await source.synced.wait()
        assert (["pair"], {}) == (world.names("Secret"), world.missing)


async def test_what_is_awaited_is_said_by_kinds_and_named_apart(kube: KubeApi, world: World) -> None:
    """S9: what anybody may read has numbers, as names of Secrets are their tenants' own."""
    kube.script("secrets", "list", "silent")
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await kube.until(lambda: any(asked.resource == "secrets" for asked in kube.requests))

        assert "waiting for the API server: 1 of Secret" == source.awaited()
        assert ["Secret/default/pair"] == source.objects()


async def test_a_server_that_is_away_never_answers_for_a_secret(kube: KubeApi, world: World) -> None:
    """X15: however often it cannot be reached, nothing is loaded without what only it knows."""
    cuts: list[Fault] = ["cut"] * 12
    kube.apply(secret())
    kube.script("secrets", "list", *cuts)
    world.wanted = {SECRET}
    async with following(kube, world) as source:
        await source.synced.wait()

    assert (["pair"], []) == (world.names("Secret"), [ref for ref, value in world.told if value is None])
    assert {} == world.missing


FEW_TURNS = PATIENT._replace(poll_s=0.0)


def watched(kube: KubeApi) -> set[str]:
    """The selectors of Secrets that were ever watched."""
    asked = [asked.query for asked in kube.requests if asked.plain == "GET secrets" and "watch" in asked.query]
    return {query["fieldSelector"] for query in asked}


async def test_watches_of_one_namespace_are_bounded_and_the_rest_is_read_in_turn(kube: KubeApi, world: World) -> None:
    """However much an author refers to, few connections are kept; all is answered for, and changes arrive."""
    kube.apply(*(secret(f"s{number:03}") for number in range(40)))
    world.wanted = {ref(f"s{number:03}", "Secret") for number in range(300)}
    async with following(kube, world, FEW_TURNS) as source:
        await source.synced.wait()
        assert (40, 260) == (len(world.names("Secret")), len(world.missing))
        kube.apply(secret("s299"))
        kube.delete("Secret", "default", "s039")
        await world.until(lambda: ref("s299", "Secret") in world.objects and ref("s039", "Secret") in world.missing)
        assert WATCHED_IN_NAMESPACE == len(watched(kube))

        elsewhere = ObjectRef("Secret", "other", "pair")
        kube.apply({**secret(), "metadata": {"name": "pair", "namespace": "other"}})
        world.wanted = world.wanted | {elsewhere}
        source.refer()
        await world.until(lambda: elsewhere in world.objects)
        await kube.until(lambda: "metadata.name=pair" in watched(kube))


async def test_a_polled_secret_is_watched_once_there_is_room(kube: KubeApi, world: World) -> None:
    """When references of its namespace go, and it is forgotten as any other when the last one goes."""
    kube.apply(*(secret(f"s{number:03}") for number in range(20)))
    world.wanted = {ref(f"s{number:03}", "Secret") for number in range(20)}
    async with following(kube, world, FEW_TURNS) as source:
        await source.synced.wait()
        world.wanted = {ref(f"s{number:03}", "Secret") for number in range(10, 20)}
        source.refer()
        await kube.until(lambda: {f"metadata.name=s{number:03}" for number in range(10, 20)} <= watched(kube))
        world.wanted = set()
        source.refer()
        assert [] == world.names("Secret")


async def test_what_is_forgotten_while_it_is_read_stays_forgotten(kube: KubeApi, world: World) -> None:
    """An answer that comes late to a poll puts no Secret back that nothing refers to."""
    kube.apply(*(secret(f"s{number:03}") for number in range(40)))
    world.wanted = {ref(f"s{number:03}", "Secret") for number in range(40)}
    async with following(kube, world, FEW_TURNS) as source:
        await source.synced.wait()
        before = len(kube.requests)
        await kube.until(lambda: len(kube.requests) > before)
        world.wanted = set()
        source.refer()
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert [] == world.names("Secret")


async def test_more_than_can_be_read_is_answered_for(
    kube: KubeApi, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The excess of a namespace is told, what was read before stays, and room that others leave is used."""
    monkeypatch.setattr(referenced, "READ_IN_NAMESPACE", 3)
    kube.apply(*map(secret, "abcd"))
    world.wanted = {ref(name, "Secret") for name in "bcd"}
    async with following(kube, world) as source:
        await source.synced.wait()
        world.wanted = world.wanted | {ref("a", "Secret")}
        source.refer()
        assert ["b", "c", "d"] == world.names("Secret")
        assert (
            "is not read: more than 3 Secrets and ConfigMaps of namespace default" in world.missing[ref("a", "Secret")]
        )
        world.wanted = {ref(name, "Secret") for name in "acd"}
        source.refer()
        await world.until(lambda: world.names("Secret") == ["a", "c", "d"] and not world.missing)


# --- everything at once -----------------------------------------------------------------------------------------------

EVENTS: list[Fault] = ["duplicate", "reorder", "cut", "gone", "error", "older", "silent"]
REQUESTS: list[Fault] = [Refusal(410, "Expired"), Refusal(429, retry_after_s="1"), Refusal(500), "cut", Stale(2)]


@pytest.mark.parametrize("seed", range(20))
async def test_after_any_history_of_faults_the_contents_are_those_of_the_server(
    kube: KubeApi, world: World, seed: int
) -> None:
    """Random writes, a fault at random events and requests: in the end nothing is missing, left over or old."""
    draw = random.Random(seed)
    async with following(kube, world, QUICK._replace(silence_s=0.1)) as source:
        await source.synced.wait()
        for step in range(60):
            await _write(kube, draw, step)
        kube.apply(route("last", "end.example"))
        await world.until(lambda: host(world, "last") == "end.example" and _same(kube, world))
        assert _same(kube, world, source)


async def _write(kube: KubeApi, draw: random.Random, step: int) -> None:
    name = f"r{draw.randrange(6)}"
    if draw.random() < 0.3 and kube.object("HTTPRoute", "default", name):
        kube.delete("HTTPRoute", "default", name)
    else:
        kube.apply(route(name, f"h{step}.example"))
    if draw.random() < 0.4:
        kube.script(ROUTES, "event", draw.choice(EVENTS))
    if draw.random() < 0.2:
        kube.script(ROUTES, draw.choice(["list", "watch"]), draw.choice(REQUESTS[:4]))
    if draw.random() < 0.1:
        kube.script(ROUTES, "list", REQUESTS[4])
    if draw.random() < 0.1:
        kube.bookmark()
    if draw.random() < 0.1:
        kube.compact()
    if draw.random() < 0.5:
        await asyncio.sleep(draw.random() / 200)


def _same(kube: KubeApi, world: World, source: KubernetesSource | None = None) -> bool:
    has = {each["metadata"]["name"]: each for each in kube.objects("HTTPRoute")}
    if world.names() != sorted(has):
        return False
    if source is not None:
        versions = {name: each["metadata"]["resourceVersion"] for name, each in has.items()}
        assert versions == {of.name: each.resource_version for of, each in source.observed.items()}
    return all(host(world, name) == each["spec"]["hostnames"][0] for name, each in has.items())
