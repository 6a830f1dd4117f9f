"""Changes to headers, as fields that routes and weighted clusters have in common."""

from __future__ import annotations

from typing import Any, Final

from xds_server.model.route import HeaderModifier
from xds_server.translation import envoy
from xds_server.translation.text import formatted, header_name

_SET: Final = envoy.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_ADD: Final = envoy.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD


def header_mutation(request: HeaderModifier, response: HeaderModifier) -> dict[str, Any]:
    """Keyword arguments of a `Route` or a `ClusterWeight`; the Host header is not among them (see `host`)."""
    return {
        f"{side}_headers_to_{what}": changes
        for side, modifier in (("request", request), ("response", response))
        for what, changes in (("add", _values(modifier, side)), ("remove", _removed(modifier, side)))
        if changes
    }


def composed(rule: HeaderModifier, share: HeaderModifier) -> HeaderModifier:
    """A rule's changes and then those of one of its backends; Envoy by itself applies the backend's first."""
    final = {*share.remove, *(name for name, _ in share.set)}
    return HeaderModifier(
        set=(*(item for item in rule.set if item[0] not in final), *share.set),
        add=(*(item for item in rule.add if item[0] not in final), *share.add),
        remove=tuple(dict.fromkeys((*rule.remove, *share.remove))),
    )


def host(request: HeaderModifier) -> str:
    """What a request's Host header is set to: Envoy rewrites it where other headers are set, by a field of its own."""
    return next((value for name, value in request.set if name == "host"), "")


def _values(modifier: HeaderModifier, side: str) -> list[envoy.HeaderValueOption]:
    settable = [(name, value) for name, value in modifier.set if side == "response" or name != "host"]
    return [
        envoy.HeaderValueOption(
            header=envoy.HeaderValue(key=_modifiable(name, side), value=formatted(value)),
            append_action=action,
            keep_empty_value=not value,
        )
        for headers, action in ((settable, _SET), (modifier.add, _ADD))
        for name, value in headers
    ]


def _removed(modifier: HeaderModifier, side: str) -> list[str]:
    return [_modifiable(name, side) for name in modifier.remove]


def _modifiable(name: str, side: str) -> str:
    if name == "host":
        raise ValueError(f"the {side} header host cannot be added or removed; set it, or rewrite the hostname")
    return header_name(name)
