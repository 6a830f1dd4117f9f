"""What Envoy's HTTP connection manager does before it looks for a route: it refuses, redirects or normalises."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

from xds_server.explain import path as paths
from xds_server.explain.answer import Answer
from xds_server.explain.match import UnmodelledError, string_matches
from xds_server.explain.request import SCHEME_PORTS, Head, Request
from xds_server.translation.envoy import EarlyHeaderMutation, HttpConnectionManager, HttpProtocolOptions

_REJECT_UNDERSCORES: Final = HttpProtocolOptions.REJECT_REQUEST
_DROP_UNDERSCORES: Final = HttpProtocolOptions.DROP_HEADER
_REJECT_SLASHES: Final = HttpConnectionManager.REJECT_REQUEST
_REDIRECT_SLASHES: Final = HttpConnectionManager.UNESCAPE_AND_REDIRECT
_FORWARD_SLASHES: Final = HttpConnectionManager.UNESCAPE_AND_FORWARD

# Envoy's HTTP/1 parser knows these methods and no other.
METHODS: Final = frozenset(
    {
        *("ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE", "MKACTIVITY"),
        *("MKCALENDAR", "MKCOL", "MOVE", "M-SEARCH", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND", "PROPPATCH"),
        *("PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK"),
        "UNSUBSCRIBE",
    }
)
_PATH: Final = re.compile(r"[\x21-\x7e]+")
_AUTHORITY: Final = re.compile(r"[!$%&'()*+,\-.0-9:;=@A-Z\[\]_a-z~]*")
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "proxy-connection", "te"})

# What only other Envoys may say; removed at the edge, which is where Envoy takes addresses from connections.
_EDGE: Final = frozenset(
    {"x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node"}
)
# What only internal clients may ask of Envoy; removed from the requests of everybody else.
_INTERNAL: Final = frozenset(
    {
        *("x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-hedge-on-per-try-timeout"),
        *("x-envoy-ip-tags", "x-envoy-max-retries", "x-envoy-original-url", "x-envoy-retriable-header-names"),
        *("x-envoy-retriable-status-codes", "x-envoy-retry-grpc-on", "x-envoy-retry-on"),
        *("x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-per-try-timeout-ms"),
        *("x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-rq-timeout-ms"),
    }
)


def admitted(manager: Any, request: Request, head: Head, port: int) -> Head | Answer:
    """The request as the routes see it, or the answer that Envoy gives at once. `port` is the one it arrived at."""
    if refusal := _refusal(manager, head):
        return refusal
    normalised = _normalised(manager, head)
    if isinstance(normalised, Answer):
        return normalised
    scheme = _scheme(manager, normalised)
    return replace(
        normalised,
        scheme=scheme,
        authority=_authority(manager, normalised, port),
        headers=_headers(manager, request, normalised, scheme),
    )


def _refusal(manager: Any, head: Head) -> Answer | None:
    if head.method not in METHODS and not manager.http_protocol_options.allow_custom_methods:
        return Answer(400, f"HTTP/1.1 as Envoy reads it has no method {head.method!r}", knows_grpc=False)
    if head.method == "CONNECT":
        return Answer(400, "CONNECT names a host and port, not a path", knows_grpc=False)
    if not _PATH.fullmatch(head.path):
        return Answer(400, "the path has characters that must be percent-encoded", knows_grpc=False)
    if not _AUTHORITY.fullmatch(head.authority):
        return Answer(400, f"the Host header {head.authority!r} is not a host name", knows_grpc=False)
    underscores = manager.common_http_protocol_options.headers_with_underscores_action
    named = next((name for name, _ in head.headers if "_" in name), None)
    if underscores == _REJECT_UNDERSCORES and named is not None:
        return Answer(400, f"header {named} has an underscore, which back-ends may take for a dash", knows_grpc=False)
    return None


def _normalised(manager: Any, head: Head) -> Head | Answer:
    path = head.path
    redirects = False
    action = manager.path_with_escaped_slashes_action
    unescaped = paths.unescape_slashes(path)
    if unescaped != path:
        if action == _REJECT_SLASHES:
            return Answer(400, "the path has an escaped slash (%2F or %5C)")
        redirects = action == _REDIRECT_SLASHES
        path = unescaped if action in {_REDIRECT_SLASHES, _FORWARD_SLASHES} else path
    if manager.normalize_path.value:
        settled = paths.normalize(path)
        if settled is None:
            return Answer(400, "the path has an escaped zero byte (%00)")
        path = settled
    if manager.merge_slashes:
        path = paths.merge_slashes(path)
    if redirects and head.is_grpc:
        return Answer(400, "the path of a gRPC request has an escaped slash (%2F or %5C)")
    if redirects:
        return Answer(307, "the path has an escaped slash (%2F or %5C); Envoy names the path that is meant", path)
    return replace(head, path=path)


def _scheme(manager: Any, head: Head) -> str:
    """What the client's side of Envoy spoke, unless Envoy trusts whoever is in front of it to say so."""
    forwarded = "" if manager.use_remote_address.value else head.first("x-forwarded-proto").lower()
    return forwarded if forwarded in SCHEME_PORTS else head.scheme


def _authority(manager: Any, head: Head, port: int) -> str:
    host = head.authority
    if manager.strip_trailing_host_dot:
        host = re.sub(r"\.(:\d+)?$", r"\1", host)
    if manager.strip_any_host_port:
        return re.sub(r":\d+$", "", host)
    return host.removesuffix(f":{port}") if manager.strip_matching_host_port else host


def _headers(manager: Any, request: Request, head: Head, scheme: str) -> tuple[tuple[str, str], ...]:
    """Headers without those that end at Envoy, and with the protocol that Envoy saw."""
    removed = _HOP_BY_HOP if head.upgrade else _HOP_BY_HOP | {"upgrade"}
    removed = removed - {"connection"} if head.upgrade else removed
    kept = [pair for pair in head.headers if pair[0] not in removed]
    if manager.common_http_protocol_options.headers_with_underscores_action == _DROP_UNDERSCORES:
        kept = [pair for pair in kept if "_" not in pair[0]]
    early = _removed_early(manager, kept)
    kept = [pair for pair in kept if pair[0] not in early]
    if not _is_internal(manager, request.client):
        private = _INTERNAL | _EDGE if manager.use_remote_address.value else _INTERNAL
        kept = [pair for pair in kept if pair[0] not in private]
    return (*(pair for pair in kept if pair[0] != "x-forwarded-proto"), ("x-forwarded-proto", scheme))


def _removed_early(manager: Any, headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Names that early mutations take away, before anything else looks at them."""
    removed: set[str] = set()
    for extension in manager.early_header_mutation_extensions:
        if not extension.typed_config.Is(EarlyHeaderMutation.DESCRIPTOR):
            raise UnmodelledError(f"early header mutation {extension.name}")
        for each in EarlyHeaderMutation.FromString(extension.typed_config.value).mutations:
            match each.WhichOneof("action"):
                case "remove":
                    removed.add(each.remove.lower())
                case "remove_on_match":
                    matcher = each.remove_on_match.key_matcher
                    removed.update(name for name, _ in headers if string_matches(matcher, name))
                case kind:
                    raise UnmodelledError(f"early header mutation {extension.name} ({kind})")
    return frozenset(removed)


def _is_internal(manager: Any, client: str) -> bool:
    """Only addresses that the configuration names are internal; an unknown client is a stranger."""
    if not client:
        return False
    return any(
        ip_address(client) in ip_network(f"{each.address_prefix}/{each.prefix_len.value}", strict=False)
        for each in manager.internal_address_config.cidr_ranges
    )


def http_filters(manager: Any, head: Head) -> Any:
    """The filters that a request goes through; an upgrade may have filters of its own."""
    for each in manager.upgrade_configs:
        if head.upgrade == each.upgrade_type.lower() and each.filters:
            return each.filters
    return manager.http_filters


def upgrades(manager: Any, action: Any | None) -> frozenset[str]:
    """Protocols that a request may upgrade to; a route's own word overrides the connection manager's."""
    allowed = {each.upgrade_type.lower() for each in manager.upgrade_configs if _enabled(each)}
    for each in action.upgrade_configs if action is not None else ():
        (allowed.add if _enabled(each) else allowed.discard)(each.upgrade_type.lower())
    return frozenset(allowed)


def _enabled(config: Any) -> bool:
    return not config.HasField("enabled") or bool(config.enabled.value)
