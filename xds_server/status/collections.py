"""Declares the status of each object: its verdicts, its faults, and whether Envoy, or the kernel, serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from xds_server.graph import Collection, Derived, Fetch, Graph, Group, Index
from xds_server.model.delivery import Acceptance, DeliveryRef, Node, NodeRef, Rejection
from xds_server.model.listener import Frontend
from xds_server.model.refs import ObjectRef
from xds_server.model.resource import INTERCEPTED, LISTENER, ROUTE_CONFIGURATION, Resource, ResourceKey
from xds_server.model.verdict import Condition, Verdict, VerdictRef
from xds_server.status.feedback import Feedback

PROGRAMMED: Final = "Programmed"
_DEPTH: Final = 3  # endpoints -> cluster -> route configuration -> its owner

Owner = Callable[[ResourceKey], ObjectRef | None]
"""The frontend that a resource belongs to; None for what several share."""


@dataclass(frozen=True, slots=True)
class DesiredStatus:
    """All verdicts of one object: its own first, then by parent or listener; and the addresses where it is served.

    `addresses` are None where they cannot be told now: those that are there stay.
    """

    object: ObjectRef
    verdicts: tuple[Verdict, ...]
    addresses: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Blame:
    """A rejection, at the frontend that suffers from it."""

    frontend: ObjectRef
    resource: ResourceKey
    node: str
    rejection: Rejection


def statuses(
    graph: Graph,
    feedback: Feedback,
    verdicts: Collection[VerdictRef, Verdict],
    frontends: Collection[ObjectRef, Frontend],
    resources: Collection[ResourceKey, Resource],
    over_budget: Collection[ObjectRef, str],
    owner: Owner,
) -> Derived[ObjectRef, DesiredStatus]:
    """Declare the status of every object that has a verdict, is too large, or meets a fault."""
    referrers: Index[ResourceKey, ResourceKey, Resource] = resources.index(lambda resource: resource.references)
    listeners: Index[ObjectRef, ResourceKey, Resource] = resources.index(lambda resource: _owned(owner, resource))
    kernel: Index[ObjectRef, ResourceKey, Resource] = resources.index(lambda resource: _of_kernel(owner, resource))
    audience: Index[bool, NodeRef, Node] = feedback.nodes.index(lambda node: [True] if node.listeners else [])
    daemons: Index[bool, NodeRef, Node] = feedback.nodes.index(lambda node: [True] if node.services else [])

    def blame(
        fetch: Fetch, key: DeliveryRef, rejection: Rejection
    ) -> Iterator[tuple[tuple[DeliveryRef, ObjectRef], Blame]]:
        current = fetch.get(resources, key.resource)
        if current is None or current.version != rejection.version:
            return  # what was refused is no longer what is wanted
        for frontend in sorted(_sufferers(fetch, referrers, owner, key.resource)):
            yield (key, frontend), Blame(frontend, key.resource, key.node, rejection)

    blames: Index[ObjectRef, Any, Blame] = graph.derive("blames", feedback.rejections, blame).index(
        lambda b: [b.frontend]
    )

    def programmed(fetch: Fetch, frontend: ObjectRef, served: Group[Resource]) -> Iterator[tuple[ObjectRef, Condition]]:
        envoys = {node.ref for node in fetch.by(audience, True)}
        found = [_served(fetch, feedback, envoys, resource) for resource in served]
        yield frontend, _programmed(found, list(fetch.by(blames, frontend)))

    def in_kernel(fetch: Fetch, frontend: ObjectRef, served: Group[Resource]) -> Iterator[tuple[ObjectRef, Condition]]:
        nodes = {node.ref for node in fetch.by(daemons, True)}
        found = [_written(fetch, feedback, nodes, resource) for resource in served]
        yield frontend, _programmed(found, list(fetch.by(blames, frontend)))

    programs = graph.derive("programs", listeners, programmed)
    kernel_programs = graph.derive("programs/kernel", kernel, in_kernel)
    faults = graph.derive("fault_verdicts", graph.faults, _fault_verdict)
    too_large = graph.derive("budget_verdicts", over_budget, _budget_verdict)
    by_object: Index[ObjectRef, VerdictRef, Verdict] = graph.union("all_verdicts", verdicts, too_large, faults).index(
        lambda verdict: [verdict.ref.object]
    )

    def status(fetch: Fetch, ref: ObjectRef, group: Group[Verdict]) -> Iterator[tuple[ObjectRef, DesiredStatus]]:
        found = tuple(group)
        if ref.kind == "Gateway":
            frontend = fetch.get(frontends, ref)
            served = [found for found in (fetch.get(programs, ref), fetch.get(kernel_programs, ref)) if found]
            condition = _addressed(frontend) or _worst(served) or _NOTHING_SERVED
            own = _exposed(condition, frontend)
            found = tuple(_with_programmed(each, condition if each.ref.section else own) for each in found)
        yield ref, DesiredStatus(ref, found, _addresses(fetch, frontends, ref, found))

    return graph.derive("statuses", by_object, status)


_NOTHING_SERVED: Final = Condition(PROGRAMMED, "False", "Invalid", "No listener of this Gateway can be served.")


def _addresses(
    fetch: Fetch, frontends: Collection[ObjectRef, Frontend], ref: ObjectRef, verdicts: tuple[Verdict, ...]
) -> tuple[str, ...] | None:
    """Of the frontend that a Gateway is, or that an Ingress says it is served at."""
    at = ref if ref.kind == "Gateway" else next((v.frontend for v in verdicts if v.frontend is not None), None)
    frontend = fetch.get(frontends, at) if at is not None else None
    if frontend is not None:
        return frontend.addresses
    return None if at is not None else ()


def _owned(owner: Owner, resource: Resource) -> list[ObjectRef]:
    if resource.type_url != LISTENER:
        return []
    ref = owner(resource.key)
    return [] if ref is None else [ref]


def _of_kernel(owner: Owner, resource: Resource) -> list[ObjectRef]:
    """Who listens for bytes and datagrams, of which no Envoy knows."""
    if resource.type_url != INTERCEPTED or resource.references:
        return []
    ref = owner(resource.key)
    return [] if ref is None else [ref]


def _sufferers(
    fetch: Fetch, referrers: Index[ResourceKey, ResourceKey, Resource], owner: Owner, refused: ResourceKey
) -> set[ObjectRef]:
    """The frontends that own the refused resource, or what leads to it."""
    found: set[ObjectRef] = set()
    seen, level = {refused}, [refused]
    for _ in range(_DEPTH):
        above: list[ResourceKey] = []
        for key in level:
            ref = owner(key)
            if ref is not None:
                found.add(ref)
                continue
            above += [resource.key for resource in fetch.by(referrers, key) if resource.key not in seen]
        seen.update(above)
        level = above
    found.update(ref for key in level if (ref := owner(key)) is not None)
    return found


class _Served(NamedTuple):
    """A listener, the Envoys that serve it as it is wanted, and those that are to but do not; or a kernel's service."""

    resource: ResourceKey
    on: frozenset[NodeRef]
    missing: frozenset[NodeRef]


def _served(fetch: Fetch, feedback: Feedback, envoys: set[NodeRef], listener: Resource) -> _Served:
    """Who serves a listener: of those that ask for all listeners, and of others that have once taken this one."""
    said: list[Acceptance] = list(fetch.by(feedback.accepted.by_resource, listener.key))
    on = {acceptance.ref.envoy for acceptance in said if acceptance.version == listener.version}
    for table in listener.references:
        if table.type_url == ROUTE_CONFIGURATION:
            # Envoy accepts a listener before it listens: it waits for the route tables first.
            on &= {acceptance.ref.envoy for acceptance in fetch.by(feedback.accepted.by_resource, table)}
            on -= {delay.ref.envoy for delay in fetch.by(feedback.delayed.by_resource, table)}
    expected = envoys | {acceptance.ref.envoy for acceptance in said}
    return _Served(listener.key, frozenset(on), frozenset(expected - on))


def _written(fetch: Fetch, feedback: Feedback, daemons: set[NodeRef], service: Resource) -> _Served:
    """Whose daemon has written a service into its kernel: of all that are there, and of others that once had it."""
    said: list[Acceptance] = list(fetch.by(feedback.accepted.by_resource, service.key))
    on = {acceptance.ref.envoy for acceptance in said if acceptance.version == service.version}
    expected = daemons | {acceptance.ref.envoy for acceptance in said}
    return _Served(service.key, frozenset(on), frozenset(expected - on))


def _programmed(served: list[_Served], blames: list[Blame]) -> Condition:
    # "Programmed: the configuration was accepted by the data plane": never True while the newest is refused.
    if blames:
        first = blames[0]
        kind = first.resource.type_url.rpartition(".")[2]
        who = f"The {first.node}" if first.resource.type_url == INTERCEPTED else f"Envoy {first.node}"
        text = f"{who} refused {kind} {first.resource.name}: {first.rejection.detail}"
        return Condition(PROGRAMMED, "False", "Invalid", text)
    for resource, on, missing in served:
        if missing or not on:
            text = _awaited_of(resource, min(missing).node if missing else "")
            return Condition(PROGRAMMED, "False", "Pending", text)
    return Condition(PROGRAMMED, "True", "Programmed")


def _awaited_of(resource: ResourceKey, node: str) -> str:
    if resource.type_url == INTERCEPTED:
        who = f"The {node} has not" if node else "No node's daemon has"
        return f"{who} written service {resource.name} into the kernel yet."
    if node:
        return f"Envoy {node} does not serve the newest listener {resource.name} and its routes yet."
    return f"No Envoy has accepted listener {resource.name} yet."


def _worst(conditions: list[Condition]) -> Condition | None:
    """Of a Gateway with listeners for Envoy and for the kernel."""
    return next((found for found in conditions if found.status != "True"), conditions[0] if conditions else None)


def _addressed(frontend: Frontend | None) -> Condition | None:
    if frontend is None or not frontend.unusable:
        return None
    return Condition(PROGRAMMED, "False", frontend.reason, frontend.unusable)


def _exposed(programmed: Condition, frontend: Frontend | None) -> Condition:
    """Of the Gateway itself: also what leads clients to it has to be as it is wanted now."""
    if frontend is None or not frontend.outdated or programmed.status != "True":
        return programmed
    return Condition(PROGRAMMED, "False", "Invalid", frontend.outdated)


def _with_programmed(verdict: Verdict, programmed: Condition) -> Verdict:
    """Add `Programmed` to the Gateway itself or to one of its listeners, which cannot be if it is not valid."""
    if verdict.ref.position < -1:
        return verdict
    condition = programmed
    refused = [c for c in verdict.conditions if c.type in {"Accepted", "ResolvedRefs"} and c.status != "True"]
    if (refused and verdict.ref.section) or any(c.type == "Accepted" for c in refused):
        condition = Condition(PROGRAMMED, "False", "Invalid", refused[0].message)
    return replace(verdict, conditions=(*verdict.conditions, condition))


def _budget_verdict(_: Fetch, about: ObjectRef, message: str) -> Iterator[tuple[VerdictRef, Verdict]]:
    ref = VerdictRef(about, -2, "", "budget")
    yield ref, Verdict(ref, 0, (Condition("Accepted", "False", "UnsupportedValue", message),))


def _fault_verdict(_: Fetch, key: tuple[str, Any], text: str) -> Iterator[tuple[VerdictRef, Verdict]]:
    """A transformation that raised is our error; the object it was about says so and keeps its last good state."""
    collection, input_key = key
    about = _object_in(input_key)
    if about is None:
        return
    ref = VerdictRef(about, -2, "", f"{collection}/{_text(input_key)}")
    message = f"Internal error in {collection}, the last good configuration stays in use: {text[:256]}"
    yield ref, Verdict(ref, 0, (Condition("Accepted", "False", "InternalError", message),))


def _object_in(key: Any) -> ObjectRef | None:
    if isinstance(key, ObjectRef):
        return key
    if isinstance(key, tuple):
        return next((ref for part in key if (ref := _object_in(part)) is not None), None)
    return None


def _text(key: Any) -> str:
    return "/".join(map(_text, key)) if isinstance(key, tuple) else str(key)
