"""What is to be written into the status of an object: what is desired, put into what is there.

Others write there too: what is not ours is passed on as the bytes that it came as.
Nothing that the API server would refuse is ever made, however long the names and messages of users are.
Must not know the API server, clocks or who leads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from xds_server.model.refs import ParentRef
from xds_server.model.verdict import Condition, Verdict
from xds_server.status.collections import PROGRAMMED, DesiredStatus

GROUP: Final = "gateway.networking.k8s.io"

OUR_TYPES: Final = frozenset(
    {
        "Accepted",
        "Conflicted",
        "OverlappingTLSConfig",
        "PartiallyInvalid",
        PROGRAMMED,
        "ResolvedRefs",
        "SupportedVersion",
    }
)
"""Conditions that are written, and taken away where they no longer hold; any other type is somebody else's."""

# The limits of the CRDs, and of metav1.Condition.
MOST_CONDITIONS: Final = 8
MOST_PARENTS: Final = 32
MOST_LISTENERS: Final = 64
MOST_ADDRESSES: Final = 16
MOST_KINDS: Final = 8
MOST_FEATURES: Final = 64
LONGEST_MESSAGE: Final = 32768
LONGEST_REASON: Final = 1024
_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")

T = TypeVar("T", bound=Struct)

Fields = dict[str, Raw]


class Merged(NamedTuple):
    """`status` is the new one, None where nothing is to be written.

    `soft`: only counts and messages differ, which may wait for more of the same.
    `held`: a `Programmed` that is no longer heard of was left as it is.
    """

    status: bytes | None
    soft: bool = False
    held: bool = False


@dataclass(slots=True)
class _Merge:
    """One merge: by whom and when, and what of it has to be told."""

    controller: str
    now: str
    patient: bool
    held: bool = False


class _Seen(Struct, rename="camel"):
    """A condition as it is there."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int | None = None


class _SeenRef(Struct, rename="camel"):
    name: str = ""
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    section_name: str = ""
    port: int | None = None


class _SeenParent(Struct, rename="camel"):
    controller_name: str = ""
    parent_ref: _SeenRef = msgspec.field(default_factory=_SeenRef)


class _SeenListener(Struct):
    name: str = ""


def merged(
    observed: bytes,
    desired: DesiredStatus,
    *,
    controller: str,
    now: str,
    patient: bool = False,
    written: Sequence[str] = (),
) -> Merged:
    """Put the desired status of an object into its observed one.

    `observed` is JSON, b"" where there is none; `now` is RFC 3339.
    Without a verdict on it an object is not ours, or not any more: what is known to be ours goes, of a route the
    entries under our name, of an Ingress the addresses if they are those `written` before.
    While `patient`, a Gateway that was `Programmed` in this generation is not `Pending` because an Envoy is not heard.
    """
    before = _fields(observed)
    after = dict(before)
    merge = _Merge(controller, now, patient)
    match desired.object.kind:
        case "Gateway":
            _gateway(merge, after, desired)
        case "Ingress":
            _ingress(after, desired, written)
        case kind if kind.endswith("Route"):
            _route(merge, after, desired)
        case _:
            _object(merge, after, desired)
    old, new = _plain(before), _plain(after)
    if old == new:
        return Merged(None, held=merge.held)
    return Merged(msgspec.json.encode(after), _skeleton(old) == _skeleton(new), merge.held)


# --- kinds ------------------------------------------------------------------------------------------------------------


def _gateway(merge: _Merge, status: Fields, desired: DesiredStatus) -> None:
    own, overrides = _own(desired)
    if own is None:
        return  # one whose class is not ours is another controller's
    addresses = [_address(address) for address in (desired.addresses or ())[:MOST_ADDRESSES]]
    if desired.addresses is not None and (addresses or "addresses" in status):
        _put(status, "addresses", addresses)
    status["conditions"] = _conditions(merge, status.get("conditions"), own, overrides)
    verdicts = [verdict for verdict in desired.verdicts if verdict.ref.position == -1 and verdict.ref.section]
    there = {_seen(raw, _SeenListener).name: raw for raw in _list(status.get("listeners"))}
    status["listeners"] = _raw(
        [_listener(merge, there.get(v.ref.section), v) for v in verdicts[:MOST_LISTENERS]],
    )


def _listener(merge: _Merge, there: Raw | None, verdict: Verdict) -> Fields:
    entry = _fields(there)
    kinds = [{"group": GROUP, "kind": kind} for kind in verdict.supported_kinds[:MOST_KINDS]]
    _put(entry, "name", verdict.ref.section)
    _put(entry, "supportedKinds", kinds)
    _put(entry, "attachedRoutes", verdict.attached_routes or 0)
    entry["conditions"] = _conditions(merge, entry.get("conditions"), verdict)
    return entry


def _object(merge: _Merge, status: Fields, desired: DesiredStatus) -> None:
    """Conditions, and of a GatewayClass its features."""
    own, overrides = _own(desired)
    if own is None:
        return
    status["conditions"] = _conditions(merge, status.get("conditions"), own, overrides)
    if own.supported_features:
        _put(status, "supportedFeatures", [{"name": name} for name in sorted(own.supported_features)[:MOST_FEATURES]])


def _ingress(status: Fields, desired: DesiredStatus, written: Sequence[str]) -> None:
    load_balancer = _fields(status.get("loadBalancer"))
    there = [_plain(_fields(raw)) for raw in _list(load_balancer.get("ingress"))]
    wanted = [_point(address) for address in sorted(desired.addresses or ())]
    ours = any(verdict.frontend is not None for verdict in desired.verdicts)
    if ours and desired.addresses is None:
        return
    if not ours and (not written or there != [_point(address) for address in sorted(written)]):
        return
    if there != wanted:
        _put(load_balancer, "ingress", wanted)
        if not wanted:
            del load_balancer["ingress"]
        status["loadBalancer"] = _raw(load_balancer)


def _route(merge: _Merge, status: Fields, desired: DesiredStatus) -> None:
    _, overrides = _own(desired)
    there = _list(status.get("parents"))
    ours: dict[ParentRef, Raw] = {}
    foreign = 0
    for raw in there:
        parent = _seen(raw, _SeenParent)
        if parent.controller_name == merge.controller:
            ours.setdefault(_ref(parent.parent_ref), raw)
        else:
            foreign += 1
    verdicts = {verdict.parent: verdict for verdict in reversed(desired.verdicts) if verdict.parent is not None}
    made = [_parent(merge, ours.get(ref), ref, verdict, overrides) for ref, verdict in reversed(verdicts.items())][
        : max(0, MOST_PARENTS - foreign)
    ]
    if not made and not ours:
        return
    # In the order of `parentRefs`, in the places where entries of ours were: nobody else's entry moves.
    left = iter(made)
    entries: list[Any] = []
    for raw in there:
        if _seen(raw, _SeenParent).controller_name != merge.controller:
            entries.append(raw)
        elif (entry := next(left, None)) is not None:
            entries.append(entry)
    status["parents"] = _raw([*entries, *left])


def _parent(
    merge: _Merge, there: Raw | None, ref: ParentRef, verdict: Verdict, overrides: Sequence[Condition]
) -> Fields:
    entry = _fields(there)
    if there is None:
        _put(entry, "parentRef", _written(ref))
    _put(entry, "controllerName", merge.controller)
    entry["conditions"] = _conditions(merge, entry.get("conditions"), verdict, overrides)
    return entry


# --- conditions -------------------------------------------------------------------------------------------------------


def _own(desired: DesiredStatus) -> tuple[Verdict | None, list[Condition]]:
    """The verdict on the object itself, and what was found out besides: faults of ours, sizes."""
    own = next((v for v in desired.verdicts if v.ref.position == -1 and not v.ref.section), None)
    return own, [condition for v in desired.verdicts if v.ref.position < -1 for condition in v.conditions]


def _conditions(merge: _Merge, there: Raw | None, verdict: Verdict, overrides: Sequence[Condition] = ()) -> Raw:
    wanted = {condition.type: condition for condition in (*verdict.conditions, *reversed(overrides))}
    generation = verdict.generation or None
    found: list[Any] = []
    for raw in _list(there):
        seen = _seen(raw, _Seen)
        condition = wanted.pop(seen.type, None)
        if condition is not None:
            found.append(_condition(merge, raw, seen, condition, generation))
        elif seen.type not in OUR_TYPES:
            found.append(raw)
    room = max(0, MOST_CONDITIONS - len(found))
    new = [_condition(merge, None, _Seen(), condition, generation) for condition in wanted.values()]
    return _raw([*found, *new[:room]])


def _condition(merge: _Merge, there: Raw | None, seen: _Seen, wanted: Condition, generation: int | None) -> Any:
    message = _cut(wanted.message)
    reason = _reason(wanted.reason)
    said = (wanted.status, reason, message, generation)
    if there is not None and said == (seen.status, seen.reason, seen.message, seen.observed_generation):
        return there
    if merge.patient and there is not None and _unheard(wanted, seen, generation):
        merge.held = True
        return there
    since = seen.last_transition_time if seen.status == wanted.status else ""
    made = {
        "type": wanted.type,
        "status": wanted.status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since or merge.now,
    }
    return made if generation is None else made | {"observedGeneration": generation}


def _unheard(wanted: Condition, seen: _Seen, generation: int | None) -> bool:
    if wanted.type != PROGRAMMED or (wanted.status, wanted.reason) != ("False", "Pending"):
        return False
    return seen.status == "True" and seen.observed_generation == generation


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"


def _reason(reason: str) -> str:
    if len(reason) <= LONGEST_REASON and _REASON.fullmatch(reason):
        return reason
    kept = re.sub(r"[^A-Za-z0-9_]", "", reason)[:LONGEST_REASON].lstrip("0123456789_")
    return kept or "Unknown"


# --- values -----------------------------------------------------------------------------------------------------------


def _address(address: str) -> dict[str, str]:
    return {"type": "IPAddress" if _is_ip(address) else "Hostname", "value": address}


def _point(address: str) -> dict[str, str]:
    return {"ip" if _is_ip(address) else "hostname": address}


def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _ref(seen: _SeenRef) -> ParentRef:
    return ParentRef(seen.group, seen.kind, seen.namespace, seen.name, seen.section_name, seen.port)


def _written(ref: ParentRef) -> dict[str, Any]:
    fields = ("group", "kind", "namespace", "name", "sectionName", "port")
    # The group may be "", which is the core group and not the default.
    return {name: value for name, value in zip(fields, ref, strict=True) if value or name == "group"}


# --- JSON -------------------------------------------------------------------------------------------------------------


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))


def _put(fields: Fields, name: str, value: Any) -> None:
    """Set a field, and leave its bytes alone where it has the value already."""
    there = fields.get(name)
    if there is None or msgspec.json.decode(there) != value:
        fields[name] = _raw(value)


def _fields(raw: Raw | bytes | None) -> Fields:
    """The fields of an object, undecoded; none where there is no object."""
    try:
        return msgspec.json.decode(raw or b"{}", type=dict[str, Raw])
    except msgspec.DecodeError:
        return {}


def _list(raw: Raw | None) -> list[Raw]:
    try:
        return msgspec.json.decode(raw or b"[]", type=list[Raw])
    except msgspec.DecodeError:
        return []


def _seen(raw: Raw, type_: type[T]) -> T:
    """What can be read of an entry; what has another shape is nothing that we wrote."""
    try:
        return msgspec.json.decode(raw, type=type_)
    except msgspec.DecodeError:
        return type_()


def _plain(fields: Fields) -> dict[str, Any]:
    return {name: msgspec.json.decode(raw) for name, raw in fields.items()}


def _skeleton(value: Any) -> Any:
    """What is left without counts, messages and times."""
    if isinstance(value, dict):
        return {name: _skeleton(part) for name, part in _parts(value)}
    return [_skeleton(part) for part in value] if isinstance(value, list) else value


def _parts(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, part in value.items():
        if name not in {"attachedRoutes", "lastTransitionTime", "message"}:
            yield name, part
