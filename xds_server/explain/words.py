"""What a route does to requests and responses that it forwards, in words for people."""

from __future__ import annotations

from typing import Any, Final

from xds_server.explain.action import rewritten_host, rewritten_path
from xds_server.explain.request import Head
from xds_server.translation.envoy import HeaderValueOption

_APPENDS: Final = {
    HeaderValueOption.APPEND_IF_EXISTS_OR_ADD: "add",
    HeaderValueOption.ADD_IF_ABSENT: "add if absent",
    HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD: "set",
    HeaderValueOption.OVERWRITE_IF_EXISTS: "set if present",
}
_DENOMINATORS: Final = (100, 10_000, 1_000_000)


def headers(holder: Any) -> tuple[str, ...]:
    """Changes that a route, virtual host, route configuration or weighted cluster makes to headers."""
    words: list[str] = []
    for side in ("request", "response"):
        words += (f"{side} header {name}: remove" for name in getattr(holder, f"{side}_headers_to_remove"))
        for option in getattr(holder, f"{side}_headers_to_add"):
            value = option.header.value or option.header.raw_value.decode("utf-8", "replace")
            # Envoy reads %% as one percent sign; what else stands between percent signs is computed for each request.
            words.append(
                f"{side} header {option.header.key}: {_APPENDS[_append_action(option)]} {value.replace('%%', '%')}"
            )
    return tuple(words)


def share(cluster: Any, head: Head) -> tuple[str, ...]:
    """Changes of one weighted cluster."""
    host = cluster.host_rewrite_literal
    return (*headers(cluster), *((f"rewrite host {head.authority} -> {host}",) if host else ()))


def _append_action(option: Any) -> int:
    if option.HasField("append") and not option.append.value:
        return int(HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    return int(option.append_action)


def forwarding(action: Any, match: Any, head: Head) -> tuple[str, ...]:
    """Rewrites, mirrors, timeouts and retries of a route that forwards."""
    return (*_rewrites(action, match, head), *_mirrors(action), *_timeouts(action), *_retries(action))


def _rewrites(action: Any, match: Any, head: Head) -> tuple[str, ...]:
    words = []
    path = rewritten_path(action, match, head)
    if path != head.path:
        words.append(f"rewrite path {head.path} -> {path}")
    host = rewritten_host(action, head)
    if host is not None:
        words.append(f"rewrite host {head.authority} -> {host}")
    return tuple(words)


def _mirrors(action: Any) -> tuple[str, ...]:
    return tuple(
        f"mirror {_percent(each.runtime_fraction.default_value) if each.HasField('runtime_fraction') else 'all'} to "
        f"{each.cluster or each.cluster_header}"
        for each in action.request_mirror_policies
    )


def _percent(fraction: Any) -> str:
    return f"{100 * fraction.numerator / _DENOMINATORS[fraction.denominator]:g}%"


def seconds(duration: Any) -> str:
    return f"{duration.seconds + duration.nanos / 1e9:g} s"


def _timeouts(action: Any) -> tuple[str, ...]:
    words = []
    if not action.HasField("timeout"):
        words.append("timeout: 15 s for the whole request")
    elif action.timeout.seconds or action.timeout.nanos:
        words.append(f"timeout: {seconds(action.timeout)} for the whole request")
    if action.HasField("idle_timeout"):
        idle = action.idle_timeout
        words.append(f"timeout: {seconds(idle) if idle.seconds or idle.nanos else 'none'} without a byte")
    per_try = action.retry_policy.per_try_timeout
    if per_try.seconds or per_try.nanos:
        words.append(f"timeout: {seconds(per_try)} for each try")
    return tuple(words)


def _retries(action: Any) -> tuple[str, ...]:
    policy = action.retry_policy
    if not policy.retry_on:
        return ()
    count = policy.num_retries.value if policy.HasField("num_retries") else 1
    if not count:
        return ()
    codes = ", ".join(str(code) for code in policy.retriable_status_codes)
    on = policy.retry_on.replace(",", ", ") + (f" ({codes})" if codes else "")
    return (f"retry: up to {count} more times on {on}",)
