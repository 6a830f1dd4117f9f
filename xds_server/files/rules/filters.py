"""The validation rules of the filters of HTTPRoute and GRPCRoute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from xds_server.files.problems import Finding
from xds_server.files.rules.names import Findings, is_address, unique
from xds_server.objects import gateway, routes

Bodies = dict[str, tuple[str, str]]  # type -> the field that belongs to it, and its attribute
_FILTER_BODIES: Final[Bodies] = {
    "RequestHeaderModifier": ("requestHeaderModifier", "request_header_modifier"),
    "ResponseHeaderModifier": ("responseHeaderModifier", "response_header_modifier"),
    "RequestMirror": ("requestMirror", "request_mirror"),
    "RequestRedirect": ("requestRedirect", "request_redirect"),
    "URLRewrite": ("urlRewrite", "url_rewrite"),
    "ExtensionRef": ("extensionRef", "extension_ref"),
    "CORS": ("cors", "cors"),
    "ExternalAuth": ("externalAuth", "external_auth"),
}
_ONCE: Final = frozenset({"RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "CORS"})


def findings(given: tuple[routes.HTTPRouteFilter, ...]) -> Findings:
    if not given:
        return
    yield from unique(
        (((at,), each.type) for at, each in enumerate(given) if each.type in _ONCE), "the type of this filter"
    )
    if {"RequestRedirect", "URLRewrite"} <= {each.type for each in given}:
        yield Finding((), "RequestRedirect and URLRewrite exclude each other", "remove one")
    for at, each in enumerate(given):
        for finding in (*bodies(each, _FILTER_BODIES), *_filter(each)):
            yield finding.below(at)


def bodies(each: Any, of: Bodies) -> Findings:
    """Exactly the field that belongs to a filter's type is set."""
    for type_, (field, attribute) in of.items():
        there = getattr(each, attribute) is not None
        if there and each.type != type_:
            yield Finding(
                (field,), f"does not belong to a filter of type {each.type}", f"set type: {type_}, or remove {field}"
            )
        if not there and each.type == type_:
            yield Finding((field,), f"is required for a filter of type {type_}", f"add {field}")


def _filter(each: routes.HTTPRouteFilter) -> Findings:
    parts: tuple[tuple[str, Any, Callable[[Any], Findings]], ...] = (
        ("requestMirror", each.request_mirror, _mirror),
        ("requestRedirect", each.request_redirect, _location),
        ("urlRewrite", each.url_rewrite, _location),
        ("cors", each.cors, _cors),
        ("externalAuth", each.external_auth, _external_auth),
    )
    for field, body, check in parts:
        if body is not None:
            for finding in check(body):
                yield finding.below(field)


def _mirror(mirror: routes.HTTPRequestMirrorFilter) -> Findings:
    if mirror.percent is not None and mirror.fraction is not None:
        yield Finding((), "percent and fraction exclude each other", "remove one")
    if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
        yield Finding(("fraction",), "is more than one: numerator exceeds denominator", "lower numerator")
    for finding in backend(mirror.backend_ref):
        yield finding.below("backendRef")


def _location(body: routes.HTTPRequestRedirectFilter | routes.HTTPURLRewriteFilter) -> Findings:
    if body.hostname and is_address(body.hostname):
        yield Finding(("hostname",), f"{body.hostname!r} is an address", "write a DNS name")
    if body.path is not None:
        for finding in _path_modifier(body.path):
            yield finding.below("path")


def _path_modifier(path: routes.HTTPPathModifier) -> Findings:
    for type_, field, text in (
        ("ReplaceFullPath", "replaceFullPath", path.replace_full_path),
        ("ReplacePrefixMatch", "replacePrefixMatch", path.replace_prefix_match),
    ):
        if path.type == type_ and text is None:
            yield Finding((field,), f"is required when type is {type_}", f"add {field}")
        if path.type != type_ and text is not None:
            yield Finding((field,), f"does not belong to type {path.type}", f"set type: {type_}, or remove {field}")


def _cors(cors: routes.HTTPCORSFilter) -> Findings:
    for field, texts in (
        ("allowOrigins", cors.allow_origins),
        ("allowMethods", cors.allow_methods),
        ("allowHeaders", cors.allow_headers),
    ):
        if "*" in texts and len(texts) > 1:
            yield Finding((field,), '"*" stands for all, and must stand alone', 'remove "*" or the others')


def _external_auth(auth: gateway.ExternalAuth) -> Findings:
    for finding in backend(auth.backend_ref):
        yield finding.below("backendRef")
    for protocol, field, body in (("GRPC", "grpc", auth.grpc), ("HTTP", "http", auth.http)):
        if auth.protocol == protocol and body is None:
            yield Finding((field,), f"is required when protocol is {protocol}", f"add {field}")
        if auth.protocol != protocol and body is not None:
            yield Finding((field,), f"does not belong to protocol {auth.protocol}", f"remove {field}")


def backend(ref: gateway.BackendObjectReference) -> Findings:
    if (ref.group, ref.kind) == ("", "Service") and ref.port is None:
        yield Finding(("port",), "is required for a Service", "set the Service's port")
