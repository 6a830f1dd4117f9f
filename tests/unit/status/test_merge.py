"""What is written into a status, and what is left as it is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.model.refs import ObjectRef, ParentRef
from xds_server.model.verdict import Condition, ConditionStatus, Verdict, VerdictRef
from xds_server.status.collections import DesiredStatus
from xds_server.status.merge import (
    GROUP,
    LONGEST_MESSAGE,
    MOST_CONDITIONS,
    MOST_PARENTS,
    OUR_TYPES,
    Merged,
    merged,
)

CONTROLLER = "tidegate.dev/controller"
THEIRS = "example.com/other"
NOW = "2026-11-27T12:00:00Z"
THEN = "2026-01-01T00:00:00Z"
GATEWAY = ObjectRef("Gateway", "default", "web")
CLASS = ObjectRef("GatewayClass", "", "tidegate")
ROUTE = ObjectRef("HTTPRoute", "default", "app")
INGRESS = ObjectRef("Ingress", "default", "app")
ACCEPTED = Condition("Accepted", "True", "Accepted")
PENDING = Condition("Programmed", "False", "Pending", "No Envoy has accepted it yet.")
WAITING = {
    "type": "Accepted",
    "status": "Unknown",
    "reason": "Pending",
    "message": "Waiting for controller",
    "lastTransitionTime": "1970-01-01T00:00:00Z",
}


def merge(observed: Any, desired: DesiredStatus, **settings: Any) -> Merged:
    raw = json.dumps(observed).encode() if observed is not None else b""
    return merged(raw, desired, **{"controller": CONTROLLER, "now": NOW} | settings)


def after(observed: Any, desired: DesiredStatus, **settings: Any) -> Any:
    """The status as it is after the merge."""
    status = merge(observed, desired, **settings).status
    return observed if status is None else json.loads(status)


def gateway(*conditions: Condition, generation: int = 1, addresses: tuple[str, ...] = ()) -> DesiredStatus:
    ref = VerdictRef(GATEWAY)
    return DesiredStatus(GATEWAY, (Verdict(ref, generation, conditions),), addresses)


def listener(name: str, *, attached: int = 0, kinds: tuple[str, ...] = ("HTTPRoute",)) -> Verdict:
    return Verdict(VerdictRef(GATEWAY, section=name), 1, (ACCEPTED,), kinds, attached)


def route(*parents: str, generation: int = 1, condition: Condition = ACCEPTED) -> DesiredStatus:
    verdicts = tuple(
        Verdict(VerdictRef(ROUTE, place, f"Gateway/default/{name}"), generation, (condition,), parent=parent(name))
        for place, name in enumerate(parents)
    )
    return DesiredStatus(ROUTE, verdicts)


def parent(name: str) -> ParentRef:
    return ParentRef(GROUP, "Gateway", "", name, "", None)


def ingress(*addresses: str) -> DesiredStatus:
    return DesiredStatus(INGRESS, (Verdict(VerdictRef(INGRESS), 1, (ACCEPTED,), frontend=INGRESS),), addresses)


def entry(name: str, controller: str = CONTROLLER, **fields: Any) -> dict[str, Any]:
    conditions = [condition()]
    ref = {"group": GROUP, "kind": "Gateway", "name": name}
    return {"parentRef": ref, "controllerName": controller, "conditions": conditions} | fields


def condition(type_: str = "Accepted", status: str = "True", reason: str = "", **fields: Any) -> dict[str, Any]:
    made = {"type": type_, "status": status, "reason": reason or type_, "message": "", "lastTransitionTime": THEN}
    return made | {"observedGeneration": 1} | fields


# --- conditions -------------------------------------------------------------------------------------------------------


def test_a_transition_time_stays_while_the_status_does() -> None:
    """Another reason or message is no transition."""
    found = after({"conditions": [condition(reason="Old", message="old")]}, gateway(ACCEPTED))

    assert condition() == found["conditions"][0]


def test_a_transition_is_timed() -> None:
    """`lastTransitionTime` is now when the status changed."""
    found = after({"conditions": [condition(status="False")]}, gateway(ACCEPTED))

    assert condition(lastTransitionTime=NOW) == found["conditions"][0]


def test_conditions_say_of_which_generation_they_are() -> None:
    """`observedGeneration` is that of the object that the verdict was made of."""
    found = after({"conditions": [condition()]}, gateway(ACCEPTED, generation=7))

    assert condition(observedGeneration=7) == found["conditions"][0]


def test_the_initial_conditions_of_the_definition_are_replaced_in_place() -> None:
    """What waits for a controller waits no more, and no second condition of the type appears."""
    found = after({"conditions": [WAITING, WAITING | {"type": "Programmed"}]}, gateway(ACCEPTED, PENDING))

    assert [condition(lastTransitionTime=NOW)] == found["conditions"][:1]
    assert ["Accepted", "Programmed"] == [c["type"] for c in found["conditions"]]


def test_conditions_of_unknown_types_stay_as_they_are() -> None:
    """Of the Gateway and of its listeners: the same bytes, fields that we do not know included."""
    theirs = b'{"type":"example.com/Audited" ,"status": "True","extra":{"n":1.50}}'
    observed = b'{"conditions":[' + theirs + b'],"listeners":[{"name":"http","conditions":[' + theirs + b"]}]}"
    desired = gateway(ACCEPTED)
    desired = DesiredStatus(GATEWAY, (*desired.verdicts, listener("http")))
    found = merged(observed, desired, controller=CONTROLLER, now=NOW).status

    assert found is not None
    assert 2 == found.count(theirs)


def test_unknown_fields_stay_as_they_are() -> None:
    """Of the status, of an entry of ours in `parents`, and of a listener."""
    assert 1.5 == after({"attachedListenerSets": 1.5}, gateway(ACCEPTED))["attachedListenerSets"]
    assert [1] == after({"parents": [entry("web", new=[1])]}, route("web", generation=2))["parents"][0]["new"]
    desired = DesiredStatus(GATEWAY, (*gateway(ACCEPTED).verdicts, listener("http")))
    assert 3 == after({"listeners": [{"name": "http", "new": 3}]}, desired)["listeners"][0]["new"]


def test_a_condition_of_ours_that_no_longer_holds_goes() -> None:
    """`PartiallyInvalid` is not there when nothing is invalid."""
    observed = {"parents": [entry("web", conditions=[condition("PartiallyInvalid"), condition()])]}

    assert [condition()] == after(observed, route("web"))["parents"][0]["conditions"]


def test_a_fault_of_ours_is_told_in_every_entry() -> None:
    """A transformation that raised says so where the object has conditions, and nowhere else."""
    fault = Condition("Accepted", "False", "InternalError", "the last good configuration stays in use")
    verdict = Verdict(VerdictRef(ROUTE, -2, "", "x"), 0, (fault,))
    desired = DesiredStatus(ROUTE, (verdict, *route("web", "other").verdicts))

    assert ["InternalError"] * 2 == [p["conditions"][0]["reason"] for p in after(None, desired)["parents"]]
    assert Merged(None) == merge(None, DesiredStatus(GATEWAY, (verdict,)))


def test_what_the_api_server_would_refuse_is_cut() -> None:
    """Messages end with an ellipsis, reasons have no letters that are not allowed, and there are eight conditions."""
    found = after(None, gateway(Condition("Accepted", "False", "no such thing!", "é" * 40_000)))["conditions"][0]
    others = {"conditions": [condition(f"Theirs{n}") for n in range(7)]}
    full = after(others, gateway(ACCEPTED, PENDING))["conditions"]

    assert (LONGEST_MESSAGE, "…") == (len(found["message"]), found["message"][-1])
    assert "nosuchthing" == found["reason"]
    assert (MOST_CONDITIONS, others["conditions"]) == (len(full), full[:7])


# --- routes -----------------------------------------------------------------------------------------------------------


def test_each_parent_has_an_entry_in_the_order_of_the_spec() -> None:
    """Under our name, with the reference as it is written."""
    found = after(None, route("web", "other"))["parents"]

    assert [entry(n, conditions=[condition(lastTransitionTime=NOW)]) for n in ("web", "other")] == found


@pytest.mark.parametrize("name", ["web", "other"])
def test_a_parent_that_is_gone_loses_its_entry(name: str) -> None:
    """Those under our name that nobody wants, and no other; the rest moves up."""
    theirs = entry("web", THEIRS, conditions=[])

    assert {"parents": [entry(name), theirs]} == after(
        {"parents": [entry("gone"), theirs, entry("old"), entry(name)]}, route(name)
    )


def test_a_route_without_a_parent_of_ours_keeps_the_entries_of_others() -> None:
    """No verdict: ours go, and a route that has none is not written at all."""
    theirs = entry("web", THEIRS)

    assert {"parents": [theirs]} == after({"parents": [theirs, entry("web")]}, DesiredStatus(ROUTE, ()))
    assert Merged(None) == merge({"parents": [theirs]}, DesiredStatus(ROUTE, ()))
    assert Merged(None) == merge(None, DesiredStatus(ROUTE, ()))


def test_the_entry_of_another_controller_for_the_same_parent_stays() -> None:
    """Ours is told by the controller's name alone; theirs keeps its bytes and its place."""
    theirs = b'{"controllerName": "example.com/other","parentRef":{"name":"web"} ,"x":1e3}'
    found = merged(b'{"parents":[' + theirs + b"]}", route("web"), controller=CONTROLLER, now=NOW).status

    assert found is not None
    assert found.startswith(b'{"parents":[' + theirs + b",")


def test_there_are_at_most_thirty_two_parents() -> None:
    """Where others fill the list, ours are the ones that are cut: the whole status would be refused."""
    theirs = [entry(f"g{n}", THEIRS) for n in range(30)]
    found = after({"parents": theirs}, route("a", "b", "c"))["parents"]

    assert (MOST_PARENTS, theirs) == (len(found), found[:30])


# --- Gateways, classes, Ingresses -------------------------------------------------------------------------------------


def test_a_gateway_shows_addresses_and_listeners() -> None:
    """Names, kinds with their group, the number of routes; listeners that are gone are gone."""
    desired = gateway(ACCEPTED, addresses=("192.0.2.1", "lb.example"))
    desired = DesiredStatus(GATEWAY, (*desired.verdicts, listener("http", attached=3)), desired.addresses)
    found = after({"listeners": [{"name": "gone", "conditions": []}]}, desired)

    assert [
        {"type": "IPAddress", "value": "192.0.2.1"},
        {"type": "Hostname", "value": "lb.example"},
    ] == found["addresses"]
    assert [
        {
            "name": "http",
            "supportedKinds": [{"group": GROUP, "kind": "HTTPRoute"}],
            "attachedRoutes": 3,
            "conditions": [condition(lastTransitionTime=NOW)],
        }
    ] == found["listeners"]


def test_a_gateway_of_another_class_is_not_touched() -> None:
    """Nothing in its status says that it is ours."""
    assert Merged(None) == merge({"addresses": [{"value": "192.0.2.1"}]}, DesiredStatus(GATEWAY, ()))


def test_addresses_that_cannot_be_told_now_stay() -> None:
    """A Gateway that is refused for now is not taken out of the DNS."""
    before = {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]}
    desired = DesiredStatus(GATEWAY, gateway(ACCEPTED).verdicts, None)

    assert before["addresses"] == after(before, desired)["addresses"]


def test_counts_and_messages_may_wait() -> None:
    """They are soft; a reason, a status or an address is not."""
    verdict = gateway(ACCEPTED).verdicts[0]
    one = DesiredStatus(GATEWAY, (verdict, listener("http", attached=1)))
    two = DesiredStatus(GATEWAY, (verdict, listener("http", attached=2)))
    more = DesiredStatus(GATEWAY, two.verdicts, ("192.0.2.1",))
    there = after(None, one)

    assert [True, False] == [merge(there, two).soft, merge(there, more).soft]


@pytest.mark.parametrize(
    ("seen", "generation", "patient", "status"),
    [
        ("True", 1, True, "True"),
        ("True", 1, False, "False"),
        ("True", 2, True, "False"),
        ("Unknown", 1, True, "False"),
    ],
)
def test_a_gateway_stays_programmed_while_envoys_are_not_heard(
    seen: str, generation: int, patient: bool, status: str
) -> None:
    """`Pending` does not replace True in the same generation while there is patience."""
    observed = {"conditions": [condition(), condition("Programmed", seen)]}
    desired = gateway(ACCEPTED, PENDING, generation=generation)
    found = merge(observed, desired, patient=patient)

    assert status == after(observed, desired, patient=patient)["conditions"][1]["status"]
    assert (status == "True") == found.held


def test_what_an_envoy_refuses_is_not_waited_for() -> None:
    """`Invalid` is knowledge, not its absence."""
    observed = {"conditions": [condition("Programmed")]}
    desired = gateway(Condition("Programmed", "False", "Invalid", "Envoy n1 refused it"))

    assert "Invalid" == after(observed, desired, patient=True)["conditions"][0]["reason"]


def test_a_class_announces_its_features_sorted() -> None:
    """As objects with a name."""
    verdict = Verdict(VerdictRef(CLASS), 1, (ACCEPTED,), supported_features=("HTTPRoute", "Gateway"))
    found = after({"conditions": [WAITING]}, DesiredStatus(CLASS, (verdict,)))

    assert [{"name": "Gateway"}, {"name": "HTTPRoute"}] == found["supportedFeatures"]


def test_an_ingress_shows_addresses_sorted() -> None:
    """By `ip` or `hostname`."""
    found = after(None, ingress("lb.example", "192.0.2.1"))

    assert {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}} == found


def test_an_ingress_that_is_no_longer_ours_loses_what_we_wrote() -> None:
    """And keeps what somebody else wrote, or what nobody is known to have written."""
    there = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    nobodys = DesiredStatus(INGRESS, ())

    assert {"loadBalancer": {}} == after(there, nobodys, written=("192.0.2.1",))
    assert Merged(None) == merge(there, nobodys, written=("192.0.2.2",))
    assert Merged(None) == merge(there, nobodys)


# --- properties -------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "d"])
texts = st.text(max_size=8)
statuses: st.SearchStrategy[ConditionStatus] = st.sampled_from(["True", "False", "Unknown"])
types = st.sampled_from(["Accepted", "ResolvedRefs", "Programmed", "Conflicted", "Odd/One", "Theirs"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda c: st.lists(c) | st.dictionaries(texts, c),
    max_leaves=4,
)
conditions = st.builds(Condition, types, statuses, st.sampled_from(["Pending", "A,", "é", ""]), texts)
seen_conditions = st.lists(
    st.builds(condition, types, statuses, texts, observedGeneration=st.integers(0, 2), extra=json_values)
)
generations = st.integers(0, 2)
verdicts = st.one_of(
    st.builds(
        lambda ref, place, name, g, found: Verdict(VerdictRef(ref, place), g, tuple(found), parent=parent(name)),
        st.sampled_from([ROUTE]),
        st.integers(0, 3),
        names,
        generations,
        st.lists(conditions, min_size=1),
    ),
    st.builds(
        lambda place, name, g, found, kinds, count: Verdict(
            VerdictRef(GATEWAY, place, "", name), g, tuple(found), tuple(kinds), count
        ),
        st.integers(-2, -1),
        names | st.just(""),
        generations,
        st.lists(conditions),
        st.lists(st.sampled_from(["HTTPRoute", "GRPCRoute"])),
        st.none() | st.integers(0, 5),
    ),
    st.builds(lambda f: Verdict(VerdictRef(INGRESS), 1, (), frontend=f), st.none() | st.just(INGRESS)),
)
desires = st.builds(
    lambda ref, found, addresses: DesiredStatus(ref, tuple(found), tuple(dict.fromkeys(addresses))),
    st.sampled_from([GATEWAY, CLASS, ROUTE, INGRESS]),
    st.lists(verdicts, max_size=5, unique_by=lambda verdict: verdict.ref),
    st.lists(st.sampled_from(["192.0.2.1", "2001:db8::1", "lb.example"]), max_size=3),
)
entries = st.builds(
    lambda name, controller, found, extra: entry(name, controller, conditions=found, extra=extra),
    names,
    st.sampled_from([CONTROLLER, THEIRS]),
    seen_conditions,
    json_values,
)
observations = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "parents": st.lists(entries, max_size=5) | json_values,
        "conditions": seen_conditions | json_values,
        "listeners": st.lists(
            st.builds(lambda n, found: {"name": n, "conditions": found}, names, seen_conditions), max_size=3
        )
        | json_values,
        "addresses": json_values,
        "loadBalancer": json_values,
        "other": json_values,
    },
)


@given(observations, desires, st.booleans())
def test_a_merge_of_what_was_merged_is_none(observed: Any, desired: DesiredStatus, patient: bool) -> None:
    """Our own write compares equal when it comes back, whatever was there before."""
    first = merge(observed, desired, patient=patient)
    second = merged(first.status or b"", desired, controller=CONTROLLER, now="2027-01-01T00:00:00Z", patient=patient)

    assert first.status is None or second.status is None


@given(st.lists(entries, max_size=5), seen_conditions, json_values, desires)
def test_what_others_wrote_is_still_there(parents: Any, found: Any, other: Any, desired: DesiredStatus) -> None:
    """Entries of other controllers in their order, conditions of other types, and fields of no concern to us."""
    ours = {c.type for verdict in desired.verdicts for c in verdict.conditions} | OUR_TYPES

    def theirs(status: Any) -> Any:
        return (
            [entry for entry in status["parents"] if entry["controllerName"] != CONTROLLER],
            [condition for condition in status["conditions"] if condition["type"] not in ours],
            status["other"],
        )

    before = {"parents": parents, "conditions": found, "other": other}

    assert theirs(before) == theirs(after(before, desired))


@given(st.text(), st.text())
def test_reasons_and_messages_fit_their_limits(reason: str, message: str) -> None:
    """Whatever an Envoy or a user wrote."""
    found = after(None, gateway(Condition("Accepted", "False", reason, message)))["conditions"][0]

    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", found["reason"])
    assert len(found["message"]) <= LONGEST_MESSAGE
