"""Verdicts: what was found of an object while it was translated, as Kubernetes conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from xds_server.model.refs import ObjectRef, ParentRef

ConditionStatus = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


class VerdictRef(NamedTuple):
    """What conditions are about: an object, a route at its `parentRefs` entry of this position, or one listener.

    `parent` is "" for conditions of the object itself, else "KIND/NAMESPACE/NAME".
    `section` is a listener's name, or a parentRef's sectionName or port.
    """

    object: ObjectRef
    position: int = -1
    parent: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Conditions in the order of the specification, and what else a status carries.

    `parent` is the entry of `parentRefs` that a route's verdict is about.
    `frontend` is where an Ingress is served.
    """

    ref: VerdictRef
    generation: int
    conditions: tuple[Condition, ...]
    supported_kinds: tuple[str, ...] = ()
    attached_routes: int | None = None
    supported_features: tuple[str, ...] = ()
    parent: ParentRef | None = None
    frontend: ObjectRef | None = None


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001  # the word that users know
    """Something that an author should know and that has no condition: an unknown annotation, say.

    `unresolved` is a reference that leads nowhere.
    """

    object: ObjectRef
    field: str
    message: str
    unresolved: bool = False
