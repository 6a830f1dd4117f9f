"""The stream's conversation, without a stream."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from datapath import accepted, app
from datapath.config import ConfigError, parse
from datapath.discovery import LARGEST, MOST_HELD, MOST_REFUSED, Accepted, Discovery, Held, Key
from datapath.resources import ANNOUNCEMENTS, SERVICE, WORKLOADS, decoded
from tests.unit.datapath.wire import packed, response, service
from xds_server.proto.tidegate.datapath.v1 import datapath_pb2 as pb

ALL = {SERVICE, WORKLOADS, ANNOUNCEMENTS}
FULL = {(SERVICE, "c"): "backends: full"}
GOOD = service(("10.0.0.1", 80, ""), backends=[("10.1.0.1", 8080, 1)])
OTHER = service(("10.0.0.2", 80, ""), backends=[("10.1.0.2", 8080, 1)])
BAD = service(("127.0.0.1", 80, ""))


def pods(address: str) -> pb.Workloads:
    return pb.Workloads(workloads=[pb.Workload(namespace="default", name="a", addresses=[packed(address)])])


def test_a_stream_begins_with_what_is_wanted_and_held() -> None:
    """All services, and what is of this node by its name; the node is named once."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD), version="7"))

    services, workloads, announcements = discovery.hello()

    assert (["*"], {"a": "7"}) == (list(services.resource_names_subscribe), dict(services.initial_resource_versions))
    assert (WORKLOADS, ["n1"]) == (workloads.type_url, list(workloads.resource_names_subscribe))
    assert (ANNOUNCEMENTS, ["n1"]) == (announcements.type_url, list(announcements.resource_names_subscribe))
    assert ("n1", "", "") == (services.node.id, workloads.node.id, announcements.node.id)


def test_an_accepted_response_is_acknowledged_by_its_nonce() -> None:
    """An answer without a detail is an ACK."""
    answer = Discovery("n1").receive(response(("a", GOOD), nonce="42"))

    assert ("42", False) == (answer.request.response_nonce, answer.request.HasField("error_detail"))
    assert {(SERVICE, "a")} == answer.changed


def test_a_server_is_told_what_the_node_does_not_serve() -> None:
    """Now, by a request that asks for nothing, and again at the beginning of each stream."""
    discovery = Discovery("n1")
    discovery.unserved = ("192.0.2.1",)
    now, first = discovery.describe(), discovery.hello()[0]

    assert (ANNOUNCEMENTS, "", []) == (now.type_url, now.response_nonce, list(now.resource_names_subscribe))
    assert [["192.0.2.1"]] * 2 == [list(each.node.metadata["unserved"]) for each in (now, first)]
    assert "n1" == now.node.id


def settled(discovery: Discovery, failed: Mapping[Key, str] | None = None, types: Collection[str] = ALL) -> list[Any]:
    """What is said once the kernel has all that there is."""
    return [each.request for each in discovery.settle(discovery.accepted().responses, types, failed or {})]


def test_a_response_is_answered_when_the_kernel_has_it() -> None:
    """Not before, and once; one that says nothing new, at once."""
    discovery = Discovery("n1")
    waits = discovery.receive(response(("a", GOOD), nonce="1")).waits
    other = settled(discovery, types={WORKLOADS})
    before = [each.request for each in discovery.settle(0, ALL, {})]
    answered = settled(discovery)

    assert (True, [], [], ["1"]) == (waits, other, before, [each.response_nonce for each in answered])
    assert [] == settled(discovery)
    assert not discovery.receive(response(("a", GOOD), nonce="2")).waits


def test_what_the_kernel_refuses_is_refused_by_name() -> None:
    """Beside what could not be used; and at once, when it is said again."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD), ("b", BAD), ("c", OTHER)))
    [answer] = settled(discovery, FULL)
    again = discovery.receive(response(("c", OTHER), nonce="2"))

    assert (
        "b: frontends[0].address 127.0.0.1 is no address of a service, a pod or a node; c: backends: full"
        == answer.error_detail.message
    )
    assert (False, "c: backends: full") == (again.waits, again.request.error_detail.message)


def test_what_fits_later_is_asked_for_again() -> None:
    """And what fails later: a server that sends it hears what has become of it."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD), ("c", OTHER)))
    settled(discovery, FULL)
    [fits] = settled(discovery)
    answer = discovery.receive(response(("c", OTHER), nonce="2")).request
    [fails] = settled(discovery, FULL)

    assert [["c"], ["c"]] == [list(each.resource_names_subscribe) for each in (fits, fails)]
    assert ("2", False, "") == (answer.response_nonce, answer.HasField("error_detail"), fits.response_nonce)


def test_a_new_stream_does_not_say_that_the_kernel_has_what_it_refused() -> None:
    """So the server sends it, and hears that; what was not answered on the old stream never is."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD), ("c", OTHER)))
    settled(discovery, FULL)
    discovery.receive(response(removed=["a"]))
    said = dict(discovery.hello()[0].initial_resource_versions)

    assert ({}, []) == (said, settled(discovery, FULL))


def test_what_cannot_be_used_is_refused_by_name_and_the_rest_is_applied() -> None:
    """One bad resource holds nobody up."""
    discovery = Discovery("n1")

    answer = discovery.receive(response(("a", GOOD), ("b", BAD), ("c", OTHER)))

    assert "b: frontends[0].address 127.0.0.1 is no address of a service, a pod or a node" == (
        answer.request.error_detail.message
    )
    assert {(SERVICE, "a"), (SERVICE, "c")} == set(discovery.held)
    assert {"b"} == {name for _, name in discovery.refused}


def test_a_refused_version_leaves_the_one_before() -> None:
    """And the next stream says that this is what is held, so that the server sends the new one again."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD), version="1"))
    discovery.receive(response(("a", BAD), version="2"))

    assert "1" == discovery.hello()[0].initial_resource_versions["a"]
    assert "1" == discovery.held[SERVICE, "a"].version


def test_a_corrected_or_removed_resource_is_no_longer_refused() -> None:
    """What is wrong now is what is told."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", BAD), ("b", BAD)))
    discovery.receive(response(("a", GOOD), removed=["b"]))

    assert {} == discovery.refused


def test_what_a_server_removes_is_gone() -> None:
    """And what was never held changes nothing."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD)))

    answer = discovery.receive(response(removed=["a", "never"]))

    assert {(SERVICE, "a")} == answer.changed
    assert {} == discovery.held


def test_the_same_content_is_no_change() -> None:
    """A server that sends everything again rewrites nothing."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD), version="1"))

    assert frozenset() == discovery.receive(response(("a", GOOD), version="2")).changed


def test_nothing_is_forgotten_because_a_stream_says_nothing() -> None:
    """An empty answer removes nobody."""
    discovery = Discovery("n1")
    discovery.receive(response(("a", GOOD)))
    discovery.hello()

    discovery.receive(response())

    assert {(SERVICE, "a")} == set(discovery.held)


def test_another_nodes_pods_are_refused() -> None:
    """A server that mixes nodes up is not believed."""
    answer = Discovery("n1").receive(response(("n2", pods("10.1.0.1")), type_url=WORKLOADS))

    assert "n2: it is not of this node" == answer.request.error_detail.message


def test_a_type_that_was_not_asked_for_is_refused() -> None:
    """Nothing of it is held."""
    discovery = Discovery("n1")
    answer = discovery.receive(response(type_url="type.googleapis.com/a.B"))

    assert "it was not asked for" in answer.request.error_detail.message
    assert set() == discovery.heard


def test_many_refusals_are_told_in_part() -> None:
    """The detail has a bound, and says that there are more."""
    answer = Discovery("n1").receive(response(*((f"s{i:02}", BAD) for i in range(25))))

    assert answer.request.error_detail.message.endswith("and 5 more")
    assert 25 == len(answer.refused)


def test_of_a_name_that_is_too_long_the_beginning_is_kept() -> None:
    """Until the server removes it."""
    discovery, name = Discovery("n1"), "x" * 100_000
    answer = discovery.receive(response((name, GOOD)))
    kept = [each for _, each in discovery.refused]
    discovery.receive(response(removed=[name]))

    assert ([name[:512]], [name[:512]]) == (kept, [*answer.refused])
    assert ({}, {}) == (discovery.held, discovery.refused)


def test_a_version_that_is_too_long_is_refused() -> None:
    """It would be said to the server on each stream."""
    answer = Discovery("n1").receive(response(("a", GOOD), version="x" * 513))

    assert {"a": "its version has more than 512 characters"} == answer.refused


def test_of_the_refused_so_many_are_kept() -> None:
    """The server is told of each; one of those that are kept makes room for another."""
    discovery = Discovery("n1")
    answer = discovery.receive(response(*((f"s{i}", BAD) for i in range(MOST_REFUSED + 1))))
    full = len(discovery.refused)
    discovery.receive(response(("s0", GOOD), ("last", BAD)))

    assert (MOST_REFUSED + 1, MOST_REFUSED) == (len(answer.refused), full)
    assert (True, MOST_REFUSED) == ((SERVICE, "last") in discovery.refused, len(discovery.refused))


@pytest.mark.parametrize(("number", "size"), [(MOST_HELD, 1), (1, LARGEST)], ids=["number", "size"])
def test_what_is_held_has_a_bound(number: int, size: int) -> None:
    """What is more is refused by name; what is held already is kept, may change, and makes room when it goes."""
    one = Held("1", bytes(size), decoded(SERVICE, "s", GOOD.SerializeToString()))
    discovery = Discovery("n1", Accepted({(SERVICE, f"s{i}"): one for i in range(number)}))
    more = discovery.receive(response(("more", GOOD)))
    kept = len(discovery.held)
    discovery.receive(response(removed=["s0"]))
    fits = discovery.receive(response(("more", GOOD)))
    changed = discovery.receive(response(("more", OTHER), version="2"))

    assert ["no more is held than 131072 resources and 64 MiB: serve less"] == [*more.refused.values()]
    assert (number, {}, {}) == (kept, fits.refused, changed.refused)


def test_at_the_bound_one_is_exchanged_for_another() -> None:
    """What a response removes makes room for what it brings."""
    one = Held("1", b"", decoded(SERVICE, "s", GOOD.SerializeToString()))
    discovery = Discovery("n1", Accepted({(SERVICE, f"s{i}"): one for i in range(MOST_HELD)}))
    answer = discovery.receive(response(("more", GOOD), removed=["s0"]))

    assert {(SERVICE, "more"), (SERVICE, "s0")} == answer.changed
    assert ({}, MOST_HELD, False) == (answer.refused, len(discovery.held), (SERVICE, "s0") in discovery.held)


def test_a_type_is_heard_of_with_its_first_answer() -> None:
    """Before, nothing may be taken out of the kernel."""
    discovery = Discovery("n1")
    discovery.receive(response(removed=["n1"], type_url=WORKLOADS))

    assert {WORKLOADS} == discovery.heard


def test_what_was_accepted_is_read_back_from_its_file(tmp_path: Path) -> None:
    """Resources, versions, and that a server had spoken; the file is closed to others."""
    discovery, path = Discovery("n1"), tmp_path / "accepted.json"
    discovery.receive(response(("a", GOOD)))
    discovery.receive(response(("n1", pods("10.1.0.1")), type_url=WORKLOADS))

    accepted.write(path, "n1", discovery.accepted())

    assert discovery.accepted() == accepted.read(path, "n1")
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With the reason, the way out, and what it means."""
    path = tmp_path / "none" / "accepted.json"
    why = re.escape(f"{path} cannot be written (No such file or directory): make room there, or")

    with pytest.raises(OSError, match=why):
        accepted.write(path, "n1", Accepted())


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    """A first start knows nothing."""
    assert Accepted() == accepted.read(tmp_path / "none", "n1")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b'{"format":2,"node":"n1","heard":[],"entries":[]}',
        b'{"format":1,"node":"n1","heard":[],"entries":[["type.googleapis.com/tidegate.datapath.v1.Service","a","1","/w=="]]}',
    ],
    ids=["empty", "cut", "format", "content"],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: bytes) -> None:
    """Of a broken file nothing is used, and nothing is removed for it."""
    path = tmp_path / "accepted.json"
    path.write_bytes(text)

    with pytest.raises(accepted.UnusableFile, match=str(path)):
        accepted.read(path, "n1")


def test_a_node_of_another_name_is_not_begun_with_what_this_one_was_told(tmp_path: Path) -> None:
    """Under a wrong name its pods would be nobody's: the fault names both, the field, and the ways out."""
    accepted.write(tmp_path / "accepted.json", "n1", Discovery("n1").accepted())

    with pytest.raises(ConfigError, match=r"node: 'n7', but .*/accepted\.json is of node 'n1': correct it.*cleanup"):
        app.discovery(parse(f"{{node: n7, server: 'unix:/run/xds.sock', state: {tmp_path}}}", "node.yaml"))
