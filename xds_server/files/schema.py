"""Checks a decoded object field by field, as strictly as `kubectl --validate=strict` and the API server.

A definition is compiled once into nested functions, since each object of each manifest walks through them.
What a rule needs two fields for is in rules.py.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

import re2

from xds_server.files.definitions import DEFINITIONS
from xds_server.files.problems import Finding

Check = Callable[[Any, list[Finding]], None]
Definition = dict[str, Any]

_PORT: Final = {"minimum": 1, "maximum": 65535}
_PROTOCOL: Final = {"enum": ["TCP", "UDP", "SCTP"]}
_LABEL: Final = {"pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
_SUBDOMAIN: Final = {
    "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    "maxLength": 253,
}
# What the API server checks of core kinds in code, so that their definitions do not say it.
CORE: Final[dict[str, Definition]] = {
    "V1ServiceSpec.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]},
    "V1ServiceSpec.externalTrafficPolicy": {"enum": ["Cluster", "Local"]},
    "V1ServiceSpec.internalTrafficPolicy": {"enum": ["Cluster", "Local"]},
    "V1ServiceSpec.sessionAffinity": {"enum": ["ClientIP", "None"]},
    "V1ServicePort": {"required": ["port"]},
    "V1ServicePort.port": _PORT,
    "V1ServicePort.nodePort": _PORT,
    "V1ServicePort.name": _LABEL,
    "V1ServicePort.protocol": _PROTOCOL,
    "V1EndpointSlice": {"required": ["addressType"]},
    "V1EndpointSlice.addressType": {"enum": ["IPv4", "IPv6", "FQDN"]},
    "V1EndpointSlice.endpoints": {"maxItems": 1000},
    "V1EndpointSlice.ports": {"maxItems": 100},
    "V1Endpoint": {"required": ["addresses"]},
    "V1Endpoint.addresses": {"minItems": 1, "maxItems": 100},
    "DiscoveryV1EndpointPort.port": _PORT,
    "DiscoveryV1EndpointPort.protocol": _PROTOCOL,
    "V1HTTPIngressPath": {"required": ["pathType", "backend"]},
    "V1HTTPIngressPath.pathType": {"enum": ["Exact", "Prefix", "ImplementationSpecific"]},
    "V1HTTPIngressRuleValue": {"required": ["paths"]},
    "V1HTTPIngressRuleValue.paths": {"minItems": 1},
    "V1IngressServiceBackend": {"required": ["name"]},
    "V1IngressServiceBackend.name": _LABEL,
    "V1ServiceBackendPort.number": _PORT,
    "V1TypedLocalObjectReference": {"required": ["kind", "name"]},
    "V1IngressSpec.ingressClassName": _SUBDOMAIN,
    "V1IngressClassParametersReference": {"required": ["kind", "name"]},
}
# Fields that had another name in versions of before, by which people still know them.
RENAMED: Final = {"LoadBalancerIPPool.spec": {"cidrs": "blocks"}}
MOST: Final = 20  # findings of one object that anybody reads
_DURATION: Final = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"  # of Gateway API
_UNREAD: Final = frozenset({"status"})


@cache
def checks(name: str, *, private: bool = False) -> Check:
    """The check of a definition; `private` keeps what fields hold out of its findings."""
    return _Compiler(private=private).named(name)


def near(word: str, known: list[str]) -> str:
    """The way out of a name that nothing has."""
    folded = {each.lower(): each for each in known}
    if found := get_close_matches(word.lower(), folded, n=1, cutoff=0.6):
        return f'did you mean "{folded[found[0]]}"?'
    return f"known here: {', '.join(known[:30])}"


def kind_of(value: object) -> str:
    """What a value is, as YAML calls it."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")


class _Compiler:
    """Definitions refer to each other: those that are being compiled are called late."""

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.done: dict[str, Check] = {}

    def named(self, name: str) -> Check:
        if name not in self.done:
            # Definitions may contain themselves: until this one is compiled, others call it by name.
            self.done[name] = self.later(name)
            definition = DEFINITIONS[name]
            if "$ref" in definition:
                self.done[name] = self.named(definition["$ref"])
            else:
                self.done[name] = self.compiled(definition | CORE.get(name, {}), name)
        return self.done[name]

    def later(self, name: str) -> Check:
        def check(value: Any, found: list[Finding]) -> None:
            self.done[name](value, found)

        return check

    def compiled(self, definition: Definition, name: str) -> Check:
        if "$ref" in definition:
            return self.named(definition["$ref"])
        match definition.get("type"):
            case "object" if "properties" in definition:
                return self.record(definition, name)
            case "object":
                return self.table(definition, name)
            case "array":
                return self.items(definition, name)
            case "string":
                return self.text(definition)
            case "integer" | "number":
                return self.number(definition)
            case "boolean":
                return self.flag()
            case _:
                return _anything

    def shown(self, value: object) -> str:
        if self.private or isinstance(value, dict | list) or value is None:
            return kind_of(value)
        if isinstance(value, bool):
            return str(value).lower()
        return repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."

    def wrong(self, value: object, wanted: str, hint: str) -> Finding:
        return Finding((), f"must be {wanted}, not {self.shown(value)}", hint)

    def quoted(self, value: object) -> str:
        if isinstance(value, bool):
            return "quote it: to YAML, yes, no, on, off, y and n are true or false"
        if self.private or not isinstance(value, int | float):
            return "quote it"
        return f'quote it: "{value}"'

    def record(self, definition: Definition, name: str) -> Check:
        fields = {
            field: _anything
            if field in _UNREAD
            else self.compiled(of | CORE.get(f"{name}.{field}", {}) if "$ref" not in of else of, f"{name}.{field}")
            for field, of in definition["properties"].items()
        }
        required = tuple(definition.get("required", ()))
        known, renamed = sorted(fields), RENAMED.get(name, {})

        def check(value: Any, found: list[Finding]) -> None:
            if type(value) is not dict:
                found.append(self.wrong(value, "a mapping", f"known fields: {', '.join(known[:30])}"))
                return
            unset = None
            for field, item in value.items():
                of = fields.get(field)
                if of is None:
                    now = renamed.get(field)
                    hint = f'it is called "{now}" now' if now else near(str(field), known) if len(found) < MOST else ""
                    found.append(Finding((str(field),), "unknown field", hint))
                elif item is None:
                    unset = [*(unset or ()), field]
                else:
                    before = len(found)
                    of(item, found)
                    if len(found) > before:
                        found[before:] = [each.below(field) for each in found[before:]]
            # The API server takes a field without a value as one that is not there.
            for field in unset or ():
                del value[field]
            for field in required:
                if field not in value:
                    found.append(Finding((field,), "is required", "add it"))

        return check

    def table(self, definition: Definition, name: str) -> Check:
        of = self.compiled(definition["additionalProperties"], name) if "additionalProperties" in definition else None
        least, most = definition.get("minProperties", 0), definition.get("maxProperties")

        def check(value: Any, found: list[Finding]) -> None:
            if type(value) is not dict:
                found.append(self.wrong(value, "a mapping", "write `key: value` lines below it"))
                return
            _sized(len(value), least, most, found)
            for key, item in value.items():
                if type(key) is not str:
                    found.append(Finding((str(key),), "a key is text", "quote it"))
                elif of is not None:
                    before = len(found)
                    of(item, found)
                    if len(found) > before:
                        found[before:] = [each.below(key) for each in found[before:]]

        return check

    def items(self, definition: Definition, name: str) -> Check:
        of = self.compiled(definition["items"] | CORE.get(f"{name}[]", {}), name)
        least, most = definition.get("minItems", 0), definition.get("maxItems")
        keys = tuple(definition.get("x-kubernetes-list-map-keys", ()))
        unique = definition.get("x-kubernetes-list-type") == "set"

        def check(value: Any, found: list[Finding]) -> None:
            if type(value) is not list:
                found.append(self.wrong(value, "a list", 'write each item on a line of its own, after "- "'))
                return
            _sized(len(value), least, most, found)
            before = len(found)
            for at, item in enumerate(value):
                of(item, found)
                if len(found) > before:
                    found[before:] = [each.below(at) for each in found[before:]]
                    before = len(found)
            if (keys or unique) and len(value) > 1:
                _repeated(value, keys, found)

        return check

    def text(self, definition: Definition) -> Check:
        least, most = definition.get("minLength", 0), definition.get("maxLength")
        enum = frozenset(definition["enum"]) if "enum" in definition else None
        pattern = definition.get("pattern", "")
        matches = re2.compile(pattern).search if pattern else None
        spelled = " or ".join(f'"{each}"' for each in definition.get("enum", ()))

        def check(value: Any, found: list[Finding]) -> None:
            if type(value) is not str:
                found.append(self.wrong(value, "text", _spelled_duration(value, pattern) or self.quoted(value)))
            elif enum is not None:
                if value not in enum:
                    found.append(Finding((), f"unknown value {self.shown(value)}", f"use {spelled}"))
            elif len(value) < least:
                found.append(Finding((), "must not be empty", "set it, or leave the field out"))
            elif most is not None and len(value) > most:
                found.append(Finding((), f"{len(value)} characters are more than {most}", "shorten it"))
            elif matches is not None and not matches(value):
                allowed = pattern if len(pattern) <= 160 else "the allowed characters"
                hint = _spelled_duration(value, pattern) or f"it must match {allowed}"
                found.append(Finding((), f"{self.shown(value)} is not allowed", hint))

        return check

    def number(self, definition: Definition) -> Check:
        least, most = definition.get("minimum"), definition.get("maximum")
        enum = definition.get("enum")
        whole = definition["type"] == "integer"

        def check(value: Any, found: list[Finding]) -> None:
            if type(value) is not int and not (type(value) is float and (not whole or value.is_integer())):
                number = isinstance(value, str) and value.isdigit() and not self.private
                found.append(
                    self.wrong(
                        value,
                        "a whole number" if whole else "a number",
                        f"write {value} without quotes" if number else "write a number in digits",
                    )
                )
            elif enum is not None and value not in enum:
                found.append(Finding((), f"unknown value {self.shown(value)}", f"use {' or '.join(map(str, enum))}"))
            elif (least is not None and value < least) or (most is not None and value > most):
                bounds = f"from {least} to {most}" if most is not None else f"of {least} or more"
                found.append(Finding((), f"{self.shown(value)} is out of bounds", f"use a number {bounds}"))

        return check

    def flag(self) -> Check:
        def check(value: Any, found: list[Finding]) -> None:
            if type(value) is not bool:
                found.append(self.wrong(value, "true or false", "write it without quotes"))

        return check


def _spelled_duration(value: object, pattern: str) -> str:
    """The way out of a number where a duration is wanted; it is of seconds nearly always."""
    if pattern != _DURATION or isinstance(value, bool):
        return ""
    if str(value).isdecimal() and len(str(value)) <= 5:
        return f"write {value}s, or another of the units h, m, s and ms"
    if isinstance(value, float) and (value * 1000).is_integer() and 0 < value < 100:
        return f"write {value * 1000:g}ms, or another of the units h, m, s and ms"
    return "write it as 10s, 500ms or 1h30m"


def _anything(value: Any, found: list[Finding]) -> None:
    """Fields that nobody here reads."""


def _sized(size: int, least: int, most: int | None, found: list[Finding]) -> None:
    if size < least:
        found.append(Finding((), f"needs {least} or more items, and has {size}", "add what is missing"))
    if most is not None and size > most:
        found.append(Finding((), f"{size} items are more than {most}", "split the object"))


def _repeated(items: list[Any], keys: tuple[str, ...], found: list[Finding]) -> None:
    seen: dict[str, int] = {}
    for at, item in enumerate(items):
        if keys and not (isinstance(item, dict) and item.keys() >= set(keys)):
            continue
        identity = repr([item.get(key) for key in keys]) if keys else repr(item)
        first = seen.setdefault(identity, at)
        if first != at:
            what = " and ".join(keys) if keys else "value"
            found.append(Finding((at,), f"has the same {what} as item {first}", "remove one, or tell them apart"))
