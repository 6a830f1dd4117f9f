"""What all objects have in common."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

Port = Annotated[int, Meta(ge=1, le=65535)]
Labels = dict[str, str]


class Model(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A part of an object; fields it does not declare are not read."""


class ObjectMeta(Model, frozen=True, kw_only=True):
    """`creation_timestamp` is RFC 3339, so that its order as text is its order in time; "" where there is none."""

    name: str
    namespace: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)


class LabelSelectorRequirement(Model, frozen=True, kw_only=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Model, frozen=True, kw_only=True):
    match_labels: Labels = field(default_factory=dict)
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
