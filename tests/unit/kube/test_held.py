"""Which events are old, which lists are stale, and what is kept of an object."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from xds_server.kube.held import Changes, Event, Held, UnreadableError, event, page
from xds_server.kube.kinds import BY_KIND
from xds_server.model.refs import ObjectRef


def service(name: str, version: str, port: Any = 80, uid: str = "u") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": version}
    return {"metadata": metadata, "spec": {"ports": [{"port": port}]}}


def said(type_: str, found: dict[str, Any]) -> Event:
    return event(msgspec.json.encode({"type": type_, "object": found}))


def held(version: str, *objects: dict[str, Any]) -> Held:
    made = Held(BY_KIND["Service"])
    read(made, version, *objects)
    return made


def read(of: Held, version: str, *objects: dict[str, Any], api_version: str = "v1") -> Changes:
    listing = of.listing(api_version)
    found = page(msgspec.json.encode({"metadata": {"resourceVersion": version}, "items": objects}))
    listing.add(found.items)
    return of.listed(found.version, listing)


A, B = ObjectRef("Service", "default", "a"), ObjectRef("Service", "default", "b")


@pytest.mark.parametrize(
    ("events", "ports"),
    [
        ([("MODIFIED", service("a", "12", 2)), ("MODIFIED", service("a", "11", 1))], [2]),
        ([("MODIFIED", service("a", "12", 2)), ("MODIFIED", service("a", "12", 1))], [2]),
        ([("MODIFIED", service("a", "9", 1))], []),
        ([("MODIFIED", service("a", "10", 1))], []),
        ([("DELETED", service("a", "12")), ("MODIFIED", service("a", "11", 1))], [None]),
        ([("DELETED", service("a", "12")), ("ADDED", service("a", "13", 3, "v"))], [None, 3]),
        ([("ADDED", service("a", "13", 3, "v")), ("DELETED", service("a", "12"))], [3]),
        ([("BOOKMARK", service("", "20")), ("MODIFIED", service("a", "15", 1))], []),
        ([("MODIFIED", service("a", "x", 1)), ("MODIFIED", service("a", "b", 2))], [1, 2]),
    ],
    ids=[
        "reordered",
        "duplicate",
        "before-list",
        "in-list",
        "deleted",
        "anew",
        "deleted-late",
        "bookmark",
        "no-number",
    ],
)
def test_an_object_never_goes_back(events: list[tuple[str, dict[str, Any]]], ports: list[int | None]) -> None:
    """What is told of an object grows in version, whatever comes in which order; versions that are no numbers are taken
    as they come.
    """
    made = held("10", service("a", "5"))
    told: list[int | None] = []
    for type_, found in events:
        for model in ((made.take(said(type_, found)) or Changes.none()).models).values():
            told.append(None if model is None else model.spec.ports[0].port)  # type: ignore[attr-defined]

    assert ports == told


def test_two_objects_whose_events_change_places_both_arrive() -> None:
    """An older event of another object is not old: only its own object, lists and bookmarks say so."""
    made = held("10")
    told = [made.take(said("ADDED", service(name, version))) for name, version in (("b", "12"), ("a", "11"))]

    assert [{B}, {A}] == [set(changes.models) for changes in told if changes]


def test_a_list_tells_what_changed_and_what_is_gone_and_nothing_else() -> None:
    """What has the version that is held is not even decoded."""
    made = held("10", service("a", "5"), service("b", "6"))
    changes = read(made, "20", service("a", "15", 81))

    assert {A, B} == set(changes.models)
    assert changes.models[B] is None
    assert {} == read(made, "21", service("a", "15", "nonsense")).models


def test_another_version_of_the_api_reads_everything_again() -> None:
    """Nothing is deleted for it, and what could not be read by one version may be by the next."""
    made = held("10", service("a", "5", "eighty"))
    assert {A} == made.undecodable.keys()
    changes = read(made, "10", service("a", "5"), api_version="v2")

    assert ([A], {}) == (list(changes.models), made.undecodable)


def test_an_object_of_another_type_says_where_and_keeps_what_was() -> None:
    """Only the place of the field is told; deletion forgets the error too."""
    made = held("10", service("a", "5"))
    changes = made.take(said("MODIFIED", service("a", "11", "eighty")))

    assert changes is not None
    assert ({}, "Expected `int`, got `str` - at `$.spec.ports[0].port`") == (changes.models, changes.undecodable[A])
    made.take(said("DELETED", service("a", "12")))
    assert {} == made.undecodable


@pytest.mark.parametrize("line", [b"", b"{", b'{"type":"ADDED"}', b'{"type":1,"object":{}}', b"[]", b"\xff\xfe"])
def test_what_is_no_event_is_an_error_of_its_own(line: bytes) -> None:
    """It raises nothing that a caller does not expect."""
    with pytest.raises(UnreadableError):
        event(line)


@pytest.mark.parametrize("found", [{}, {"metadata": []}, {"metadata": {"name": 7}}, {"metadata": {"uid": {}}}])
def test_an_object_without_a_name_is_an_error_of_its_own(found: dict[str, Any]) -> None:
    """In a list it is left out; in a watch it ends the watch."""
    made = held("10", service("a", "5"))
    with pytest.raises(UnreadableError):
        made.take(said("MODIFIED", found))


def test_a_place_to_go_on_at_is_never_before_the_list() -> None:
    """An old event moves it nowhere."""
    made = held("10")
    made.take(said("ADDED", service("a", "4")))
    assert "10" == made.resume
    made.take(said("ADDED", service("a", "14")))
    assert "14" == made.resume


def test_stale_lists_are_known_by_the_newest_version_that_was_seen() -> None:
    """An event counts as much as a list."""
    made = held("10")
    made.take(said("ADDED", service("a", "14")))

    assert [True, False, False] == [made.is_set_back(version) for version in ("13", "14", "x")]
