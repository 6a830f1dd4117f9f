"""Which Ingresses are ours: by IngressClass, by the older annotation, or by the default class."""

from __future__ import annotations

from typing import Final, NamedTuple

from xds_server.graph import Fetch, Index
from xds_server.ingestion.age import age
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.refs import ObjectRef
from xds_server.objects.networking import Ingress, IngressClass

LEGACY: Final = "kubernetes.io/ingress.class"
DEFAULT: Final = "ingressclass.kubernetes.io/is-default-class"

DefaultClasses = Index[bool, ObjectRef, IngressClass]


class Claim(NamedTuple):
    """Whether an Ingress is ours, and what its author should know of how that was decided."""

    ours: bool
    remark: str = ""


def default_classes(sources: Sources) -> DefaultClasses:
    """The classes that take Ingresses without one, under the single key True."""
    return sources.ingress_classes.index(lambda c: (True,) if c.metadata.annotations.get(DEFAULT) == "true" else ())


def claim(fetch: Fetch, sources: Sources, defaults: DefaultClasses, settings: Settings, ingress: Ingress) -> Claim:
    """An Ingress is ours when its class names our controller, whatever the name of the class."""
    # The API says of the annotation that "it must be given precedence over this field", for compatibility.
    annotated, named = ingress.metadata.annotations.get(LEGACY, ""), ingress.spec.ingress_class_name
    if annotated and named and annotated != named:
        ours = is_ours(fetch, sources, settings, annotated)
        return Claim(
            ours, f"{LEGACY} takes precedence over spec.ingressClassName, which names another class; delete one"
        )
    if annotated or named:
        return Claim(is_ours(fetch, sources, settings, annotated or named))
    # Of several default classes Kubernetes takes the youngest, and of those the first by name.
    candidates = sorted(fetch.by(defaults, True), key=lambda c: c.metadata.name)
    candidates.sort(key=lambda c: age(c.metadata.creation_timestamp), reverse=True)
    return Claim(bool(candidates) and candidates[0].spec.controller == settings.controller_name)


def is_ours(fetch: Fetch, sources: Sources, settings: Settings, name: str) -> bool:
    declared = fetch.get(sources.ingress_classes, ObjectRef("IngressClass", "", name))
    if declared is None:
        return name in settings.undeclared_classes
    return declared.spec.controller == settings.controller_name
