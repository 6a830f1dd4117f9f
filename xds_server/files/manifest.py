"""One document of a manifest as objects, or as what is wrong with it: a pure function of the document's text.

Places are kept as paths; their lines are looked up only where something is said of them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from xds_server.files import kinds, rules, syntax
from xds_server.files.nodes import Malformed, line_of, tree
from xds_server.files.problems import NOWHERE, Finding, Notice, Path, Problem, spelled
from xds_server.files.rules import names
from xds_server.files.schema import MOST, checks, kind_of, near
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import Secret
from xds_server.objects.meta import Model, ObjectMeta

_DEFAULT_NAMESPACE: Final = "default"
_LISTS_IN_LISTS: Final = 10
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_LOCATED: Final = re.compile(r"(?P<message>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Found(NamedTuple):
    ref: ObjectRef
    object: Model
    place: Path


class Reading(NamedTuple):
    """What a document says; files and lines are those within the document, and `directory` makes them whole.

    `claims` are the objects that the document means but does not give, because they have problems.
    `readable` is false when the text is no document, so that nobody knows what it means.
    """

    objects: tuple[Found, ...] = ()
    claims: tuple[ObjectRef, ...] = ()
    problems: tuple[Problem, ...] = ()
    notices: tuple[Notice, ...] = ()
    readable: bool = True


class Item(NamedTuple):
    """An object as it is written, with its place in the document."""

    value: Any
    place: Path


def read(text: str, *, json: bool = False) -> Reading:
    """Everything that a document says; it never raises, whatever the text."""
    if not json:
        sure, value = syntax.quick(text)
        if sure and (quick := _objects(value)) is not None:
            return Reading(quick)
    try:
        value = syntax.json_value(text) if json else syntax.exact(text)
    except Malformed as error:
        problem = Problem("", error.line, NOWHERE, "", error.message, error.hint or "the objects that were there stay")
        return Reading(problems=(problem,), readable=False)
    return _judged(text, value)


def line(text: str, place: Path) -> int:
    """The line of a place within a document's text."""
    try:
        return line_of(tree(text), place)
    except Malformed:
        return 1


def _objects(value: Any) -> tuple[Found, ...] | None:
    """The objects of a document that has nothing to say but them."""
    found = []
    for item in _items(Item(value, ())):
        outcome = _object(item)
        if not isinstance(outcome, Found):
            return None
        found.append(outcome)
    return tuple(found)


def _judged(text: str, value: Any) -> Reading:
    objects: list[Found] = []
    claims: list[ObjectRef] = []
    problems: list[Problem] = []
    notices: list[Notice] = []
    try:
        root = tree(text)
    except Malformed:  # JSON that is no YAML
        root = None
    for item in _items(Item(value, ())):
        match _object(item):
            case Found() as found:
                objects.append(found)
            case Noted(ref, message):
                notices.append(Notice("", line_of(root, item.place), ref, message))
            case Refused(ref, findings):
                if ref is not NOWHERE:
                    claims.append(ref)
                problems += (
                    Problem(
                        "",
                        line_of(root, (*item.place, *finding.path)),
                        ref,
                        spelled(finding.path),
                        finding.message,
                        finding.hint,
                    )
                    for finding in findings
                )
    return Reading(tuple(objects), tuple(claims), tuple(problems), tuple(notices))


class Refused(NamedTuple):
    """`ref` has as much of the object's name as could be read."""

    ref: ObjectRef
    findings: list[Finding]


class Noted(NamedTuple):
    ref: ObjectRef
    message: str


def _items(item: Item) -> Iterator[Item]:
    """The objects of a document; those of a list one by one."""
    value, place = item
    if value is None:
        return
    if not (isinstance(value, dict) and isinstance(value.get("items"), list)) or len(place) > _LISTS_IN_LISTS:
        yield item
        return
    kind, version = value.get("kind"), value.get("apiVersion")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(version, str)):
        yield item
        return
    for at, each in enumerate(value["items"]):
        # The items of a list of one kind need not repeat it.
        whole = {"apiVersion": version, "kind": kind.removesuffix("List")} if kind != "List" else {}
        yield from _items(Item({**whole, **each} if isinstance(each, dict) else each, (*place, "items", at)))


def _object(item: Item) -> Found | Noted | Refused:
    value = item.value
    if not isinstance(value, dict):
        hint = "an object begins with apiVersion and kind"
        return Refused(NOWHERE, [Finding((), f"is {kind_of(value)}, and no object", hint)])
    kind, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str) or not kind or not version:
        missing = [
            field for field in ("apiVersion", "kind") if not (isinstance(value.get(field), str) and value[field])
        ]
        return Refused(
            _reference(value, ""),
            [Finding((missing[0],), "is required, and text", "an object begins with apiVersion and kind")],
        )
    served = kinds.SERVED.get((version, kind))
    if served is None:
        return _not_served(value, version, kind)
    private = served.struct is Secret
    found: list[Finding] = []
    checks(served.definition, private=private)(value, found)
    ref, unnamed = _named(value, kind, served)
    found += (each for each in unnamed if each.path not in {other.path for other in found})
    if found:
        return Refused(ref, _worth_reading(found))
    try:
        obj = msgspec.convert(value, served.struct)
    except msgspec.ValidationError as error:
        return Refused(ref, [_unconverted(str(error), private=private)])
    obj, found = _settled(obj, ref)
    found += rules.findings(obj)
    if found:
        return Refused(ref, _worth_reading(found))
    return Found(ref, _encoded(obj) if isinstance(obj, Secret) else obj, item.place)


def _worth_reading(found: list[Finding]) -> list[Finding]:
    if len(found) <= MOST:
        return found
    return [*found[:MOST], Finding((), f"has {len(found) - MOST} more problems", "correct those above first")]


def _not_served(value: dict[str, Any], version: str, kind: str) -> Noted | Refused:
    ref = _reference(value, kind)
    if kinds.noted(version, kind):
        return Noted(ref, "is not read here, and changes nothing")
    if versions := kinds.VERSIONS.get(kind):
        hint = f"use apiVersion: {' or '.join(versions)}"
        return Refused(ref, [Finding(("apiVersion",), f"{version[:80]!r} has no {kind} that is read here", hint)])
    hint = near(kind, sorted(kinds.VERSIONS))
    return Refused(ref._replace(kind=""), [Finding(("kind",), f"unknown kind {kind[:80]!r} of {version[:80]!r}", hint)])


def _reference(value: dict[str, Any], kind: str) -> ObjectRef:
    """The name that an object gives itself, whatever it is."""
    metadata = value.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    name, namespace = given.get("name"), given.get("namespace")
    return ObjectRef(
        kind[:80],
        namespace[:80] if isinstance(namespace, str) else "",
        name[:260] if isinstance(name, str) else "",
    )


def _named(value: dict[str, Any], kind: str, served: kinds.Kind) -> tuple[ObjectRef, list[Finding]]:
    """An object's name; NOWHERE's parts stay empty where it has none."""
    found: list[Finding] = []
    ref = _reference(value, kind)
    if "metadata" not in value:
        return ref, [Finding(("metadata",), "is required", "add metadata with a name")]
    allowed, most = (names.LABEL, 63) if served.label else (names.SUBDOMAIN, 253)
    if not ref.name:
        found.append(Finding(("metadata", "name"), "is required", "name the object"))
    elif len(ref.name) > most or not allowed.fullmatch(ref.name):
        dots = "" if served.label else " and ."
        found.append(
            Finding(("metadata", "name"), f"{ref.name!r} is no name", f"use up to {most} of a-z, 0-9, -{dots}")
        )
    if not served.namespaced:
        return ref._replace(namespace=""), found
    ref = ref._replace(namespace=ref.namespace or _DEFAULT_NAMESPACE)
    if len(ref.namespace) > 63 or not names.LABEL.fullmatch(ref.namespace):
        hint = "use up to 63 of a-z, 0-9 and -"
        found.append(Finding(("metadata", "namespace"), f"{ref.namespace!r} is no namespace", hint))
    return ref, found


def _settled(obj: Any, ref: ObjectRef) -> tuple[Any, list[Finding]]:
    """The object with the metadata that the API server would give it; `generation` is the directory's to set."""
    metadata = obj.metadata
    if not isinstance(metadata, ObjectMeta):
        return msgspec.structs.replace(obj, metadata=msgspec.structs.replace(metadata, namespace=ref.namespace)), []
    created, found = metadata.creation_timestamp, []
    if created:
        try:
            at = datetime.fromisoformat(created)
            created = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (ValueError, OverflowError):
            hint = "write 2026-01-31T12:00:00Z, or leave it out"
            found.append(Finding(("metadata", "creationTimestamp"), "is no RFC 3339 time", hint))
    annotations = metadata.annotations
    if _LAST_APPLIED in annotations:  # a copy of the object, and of a Secret its values
        annotations = {key: text for key, text in annotations.items() if key != _LAST_APPLIED}
    settled = msgspec.structs.replace(
        metadata, namespace=ref.namespace, generation=0, creation_timestamp=created, annotations=annotations
    )
    return msgspec.structs.replace(obj, metadata=settled), found


def _encoded(secret: Secret) -> Secret:
    """A Secret with `stringData` merged into `data`, and with no white space in base64, as the API server keeps it."""
    encoded = {key: "".join(text.split()) for key, text in secret.data.items()}
    encoded |= {key: b64encode(text.encode()).decode() for key, text in secret.string_data.items()}
    return msgspec.structs.replace(secret, data=encoded, string_data={})


def _unconverted(error: str, *, private: bool) -> Finding:
    """A finding of msgspec's, for what a definition allows and a Struct does not."""
    match = _LOCATED.fullmatch(error)
    path = match["path"] or "" if match else ""
    steps: list[str | int] = []
    for field, index in _STEP.findall(path):
        if not field and not index.isdigit():
            break
        steps.append(field or int(index))
    message = match["message"] if match and not private else "is not as the API has it"
    return Finding(tuple(steps), message, "correct the field")
