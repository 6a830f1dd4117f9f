"""Attachment: which listeners of which parents a route may use, and for which hostnames.

It must not know what the route's rules say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from xds_server.graph import Collection, Fetch
from xds_server.ingestion.hostnames import UNIVERSAL, covers, intersection, valid
from xds_server.ingestion.sources import Sources
from xds_server.ingestion.values import shown
from xds_server.model.listener import Attachment
from xds_server.model.refs import ListenerRef, ObjectRef, ParentRef, TableRef
from xds_server.model.verdict import Condition, VerdictRef
from xds_server.objects.gateway import GROUP, RouteNamespaces
from xds_server.objects.meta import Labels, LabelSelector
from xds_server.objects.routes import ParentReference

_NAME_LABEL: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True)
class ParentListener:
    """What a route sees of a listener.

    `kinds` and `namespaces` may attach.
    `holds` tells whether requests for its hostname stay with it, though no route of it may match them.
    `taken` are the hostnames of more specific listeners on the same port, which no route of this one may have.
    `keeps` tells whether a route that is refused as a whole keeps its requests from other routes, by answering 500.
    """

    ref: ListenerRef
    port: int
    hostname: str
    table: TableRef
    kinds: tuple[str, ...]
    namespaces: RouteNamespaces
    served: bool
    holds: bool
    taken: tuple[str, ...] = ()
    keeps: bool = True


@dataclass(frozen=True, slots=True)
class Parent:
    """An object of ours that routes name in `parentRefs`."""

    ref: ObjectRef
    listeners: tuple[ParentListener, ...]


Parents = Collection[ObjectRef, Parent]


class ParentOutcome(NamedTuple):
    """What became of one entry of `parentRefs`: its listeners with the hostnames for each, or why there are none.

    `clients` is the namespace whose pods alone the route is for there, "" for everybody.
    """

    verdict: VerdictRef
    accepted: Condition
    listeners: tuple[tuple[ParentListener, tuple[str, ...]], ...] = ()
    parent: ParentRef | None = None
    clients: str = ""

    def attachments(self, source: ObjectRef, *, accepted: bool) -> Iterator[Attachment]:
        for listener, hostnames in self.listeners:
            served = hostnames if listener.served and (accepted or listener.keeps) else ()
            yield Attachment(source, listener.ref, listener.table, served, accepted, self.clients)


ACCEPTED: Final = Condition("Accepted", "True", "Accepted")


def outcomes(
    fetch: Fetch,
    sources: Sources,
    parents: Parents,
    route: ObjectRef,
    refs: Sequence[ParentReference],
    hostnames: tuple[str, ...],
) -> Iterator[ParentOutcome]:
    """One outcome for each `parentRefs` entry that names a Gateway of ours; others' parents are others' business."""
    for position, ref in enumerate(refs):
        if (ref.group, ref.kind) != (GROUP, "Gateway"):
            continue
        parent = fetch.get(parents, ObjectRef(ref.kind, ref.namespace or route.namespace, ref.name))
        if parent is not None:
            verdict = verdict_ref(route, position, ref)
            yield outcome(fetch, sources, parent, route, ref, hostnames, verdict)._replace(parent=written(ref))


def verdict_ref(route: ObjectRef, position: int, ref: ParentReference) -> VerdictRef:
    parent = ObjectRef(ref.kind, ref.namespace or route.namespace, ref.name)
    return VerdictRef(route, position, str(parent), ref.section_name or (str(ref.port) if ref.port else ""))


def written(ref: ParentReference) -> ParentRef:
    return ParentRef(ref.group, ref.kind, ref.namespace, ref.name, ref.section_name, ref.port)


def outcome(
    fetch: Fetch,
    sources: Sources,
    parent: Parent,
    route: ObjectRef,
    ref: ParentReference,
    hostnames: tuple[str, ...],
    verdict: VerdictRef,
) -> ParentOutcome:
    if bad := [hostname for hostname in hostnames if not valid(hostname)]:
        # No second spelling of a hostname may lead to somebody's requests (S3).
        named = ", ".join(map(shown, bad[:8]))
        message = f"spec.hostnames: {named}: write a lower-case DNS name, with or without a first label *"
        return ParentOutcome(verdict, refused("UnsupportedValue", message))
    # "When both Port and SectionName are specified, the name and port of the selected listener must match both."
    selected = [
        listener
        for listener in parent.listeners
        if ref.section_name in ("", listener.ref.section) and ref.port in (None, listener.port)
    ]
    if not selected:
        asked = " and ".join(filter(None, (ref.section_name, f"port {ref.port}" if ref.port else "")))
        known = ", ".join(f"{listener.ref.section} (port {listener.port})" for listener in parent.listeners[:8])
        return ParentOutcome(
            verdict, refused("NoMatchingParent", f"{parent.ref} has no listener {asked}; it has: {known or 'none'}")
        )
    allowing = [
        listener
        for listener in selected
        if route.kind in listener.kinds
        and namespace_allowed(fetch, sources, listener.namespaces, parent.ref.namespace, route.namespace)
    ]
    if not allowing:
        names = ", ".join(listener.ref.section for listener in selected[:8])
        return ParentOutcome(
            verdict,
            refused(
                "NotAllowedByListeners",
                f"allowedRoutes of {parent.ref} listener {names} admits no {route.kind} of namespace {route.namespace}",
            ),
        )
    matching = tuple((listener, common) for listener in allowing if (common := shared(listener.hostname, hostnames)))
    # "If both the Listener and the route have specified hostnames, and none match, the route is not accepted."
    if not matching:
        theirs = ", ".join(listener.hostname for listener in allowing[:8])
        return ParentOutcome(
            verdict,
            refused(
                "NoMatchingListenerHostname",
                f"no hostname of the route ({', '.join(hostnames[:8])}) fits one of {parent.ref} ({theirs})",
            ),
        )
    return ParentOutcome(verdict, ACCEPTED, tuple((listener, left(listener, common)) for listener, common in matching))


def refused(reason: str, message: str) -> Condition:
    return Condition("Accepted", "False", reason, message)


def shared(listener_hostname: str, hostnames: tuple[str, ...]) -> tuple[str, ...]:
    """The hostnames that a listener and a route have in common, without repetition."""
    found = (intersection(listener_hostname, hostname) for hostname in hostnames or (UNIVERSAL,))
    return tuple(dict.fromkeys(hostname for hostname in found if hostname is not None))


def left(listener: ParentListener, hostnames: tuple[str, ...]) -> tuple[str, ...]:
    """Listener isolation: "requests SHOULD match at most one Listener", the most specific one of the port."""
    return tuple(h for h in hostnames if not any(covers(taken, h) for taken in listener.taken))


def namespace_allowed(fetch: Fetch, sources: Sources, allowed: RouteNamespaces, own: str, namespace: str) -> bool:
    if allowed.from_ == "All":
        return True
    if allowed.from_ == "Same":
        return own == namespace
    if allowed.from_ != "Selector" or allowed.selector is None:
        return False
    found = fetch.get(sources.namespaces, ObjectRef("Namespace", "", namespace))
    # Kubernetes gives each namespace this label; a directory of manifests need not write it.
    labels = {_NAME_LABEL: namespace, **(found.metadata.labels if found else {})}
    return selects(allowed.selector, labels)


def selects(selector: LabelSelector, labels: Labels) -> bool:
    """Kubernetes' label selector: every requirement holds; an unknown operator holds for nothing."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(requirement_holds(r.operator, labels.get(r.key), r.values) for r in selector.match_expressions)


def requirement_holds(operator: str, value: str | None, values: Sequence[str]) -> bool:
    return bool(_OPERATORS.get(operator, lambda *_: False)(value, values))


_OPERATORS: Final[dict[str, Any]] = {
    "In": lambda value, values: value is not None and value in values,
    "NotIn": lambda value, values: value is None or value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
}
