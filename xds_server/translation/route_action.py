"""Forwarding: clusters by weight, rewrites, mirrors, timeouts and retries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from xds_server.model.route import Filters, Mirror, Retry, Route, WeightedBackend
from xds_server.translation import envoy, names
from xds_server.translation.header_mutation import composed, header_mutation, host
from xds_server.translation.path_rewrite import path_rewrite
from xds_server.translation.route_match import MILLION, fraction
from xds_server.translation.text import header_value

STREAM_IDLE_MS: Final = 300_000
"""Streams without a byte in either direction end after five minutes.

No route has a total time unless its author wants one: Envoy's 15 s would cut downloads, gRPC streams and long polls.
"""

_DISABLED: Final = envoy.milliseconds(0)
_PREVIOUS_HOSTS: Final = envoy.RetryPolicy.RetryHostPredicate(
    name="envoy.retry_host_predicates.previous_hosts", typed_config=envoy.any_of(envoy.PreviousHostsPredicate())
)
_HOST_SELECTIONS: Final = 5
_MOST_RETRIES: Final = 10
_LONGEST_BACKOFF: Final = 10  # times the first
_MOST_MS: Final = (2**63 // 10**9 - 1) * 1000  # Envoy refuses durations whose nanoseconds do not fit into 64 bits
_MOST_WEIGHT: Final = 2**32 - 1


def route_action(route: Route, shares: Sequence[WeightedBackend]) -> envoy.RouteAction:
    """`shares` have clusters; where only headers differ between them, Envoy's weighted clusters can tell them apart."""
    filters = route.filters
    action = envoy.RouteAction(
        timeout=_DISABLED if route.request_timeout_ms is None else envoy.milliseconds(route.request_timeout_ms),
        **_destination(shares, filters),
        **_path(route, shares),
    )
    if (idle := _idle_timeout_ms(route)) is not None:
        action.idle_timeout.CopyFrom(envoy.milliseconds(idle))
    if policy := retry_policy(route.retry, route.backend_timeout_ms):
        action.retry_policy.CopyFrom(policy)
    for mirror in mirrors(filters, shares):
        if policy := _mirror(mirror):
            action.request_mirror_policies.append(policy)
    return action


def header_mutations(route: Route, shares: Sequence[WeightedBackend]) -> dict[str, Any]:
    """Keyword arguments of the whole `Route`; empty where each share has the rule's changes among its own."""
    if any(_has_headers(share.filters) for share in shares):
        return {}
    return header_mutation(route.filters.request_headers, route.filters.response_headers)


def mirrors(filters: Filters, shares: Sequence[WeightedBackend]) -> list[Mirror]:
    """Those of the rule, then those of a share; a share with mirrors is alone (see `route.split`)."""
    return [*filters.mirrors, *(mirror for share in shares for mirror in share.filters.mirrors)]


def retry_policy(retry: Retry | None, backend_timeout_ms: int | None) -> envoy.RetryPolicy | None:
    """Retries what surely did no harm: the connection failed, or the backend refused the stream before it read it.

    "Implementations SHOULD NOT retry" a connection that was reset after the request went out, so no plain `reset`.
    A time limit for one attempt lives in the retry policy, so it needs one even where nothing is retried.
    Without a limit for the whole request its stream's idle limit ends it, which no retry renews: a client sees no byte.
    """
    attempts = min(retry.attempts, _MOST_RETRIES) if retry else 0
    if not attempts and not backend_timeout_ms:
        return None
    policy = envoy.RetryPolicy(num_retries={"value": attempts})
    if backend_timeout_ms:
        policy.per_try_timeout.CopyFrom(envoy.milliseconds(backend_timeout_ms))
    if retry is None or not attempts:
        return policy
    causes = ["connect-failure", "refused-stream"]
    if retry.codes:
        causes.append("retriable-status-codes")
        policy.retriable_status_codes.extend(retry.codes)
    if retry.grpc:
        causes.append("unavailable")
    policy.retry_on = ",".join(causes)
    policy.retry_host_predicate.append(_PREVIOUS_HOSTS)
    policy.host_selection_retry_max_attempts = _HOST_SELECTIONS
    if retry.backoff_ms is not None:
        first = max(1, retry.backoff_ms)  # Envoy counts in milliseconds and has no zero
        policy.retry_back_off.base_interval.CopyFrom(envoy.milliseconds(first))
        policy.retry_back_off.max_interval.CopyFrom(envoy.milliseconds(min(first * _LONGEST_BACKOFF, _MOST_MS)))
    return policy


def _destination(shares: Sequence[WeightedBackend], rule: Filters) -> dict[str, Any]:
    rule_host = _host(rule)
    if len(shares) == 1 and not _has_headers(shares[0].filters):
        return {"cluster": _cluster(shares[0]), **_rewritten(_host(shares[0].filters) or rule_host)}
    if sum(share.weight for share in shares) > _MOST_WEIGHT:
        raise ValueError(f"the weights of a rule add up to more than {_MOST_WEIGHT}")
    own_hosts = any(_host(share.filters) for share in shares)
    own_headers = any(_has_headers(share.filters) for share in shares)
    clusters = [
        envoy.WeightedCluster.ClusterWeight(
            name=_cluster(share),
            weight={"value": share.weight},
            **(_composed(rule, share.filters) if own_headers else {}),
            **_rewritten(_host(share.filters) or rule_host if own_hosts else ""),
        )
        for share in shares
    ]
    return {"weighted_clusters": {"clusters": clusters}, **_rewritten("" if own_hosts else rule_host)}


def _composed(rule: Filters, share: Filters) -> dict[str, Any]:
    return header_mutation(
        composed(rule.request_headers, share.request_headers), composed(rule.response_headers, share.response_headers)
    )


def _path(route: Route, shares: Sequence[WeightedBackend]) -> dict[str, Any]:
    """A share's own path wins; it is alone then."""
    rewrites = [share.filters.rewrite for share in shares if share.filters.rewrite and share.filters.rewrite.path]
    rewrite = rewrites[0] if rewrites else route.filters.rewrite
    return path_rewrite(rewrite.path, route.match.path) if rewrite and rewrite.path else {}


def _host(filters: Filters) -> str:
    return (filters.rewrite.hostname if filters.rewrite else "") or host(filters.request_headers)


def _rewritten(hostname: str) -> dict[str, str]:
    return {"host_rewrite_literal": header_value(hostname)} if hostname else {}


def _has_headers(filters: Filters) -> bool:
    request, response = filters.request_headers, filters.response_headers
    return bool(request.set or request.add or request.remove or response.set or response.add or response.remove)


def _cluster(share: WeightedBackend) -> str:
    if share.cluster is None:
        raise ValueError("a backend that is not resolved has no cluster")
    return names.cluster(share.cluster)


def _idle_timeout_ms(route: Route) -> int | None:
    """A request that may take longer than the idle limit may also be silent that long; no limit at all lifts both."""
    if route.idle_timeout_ms is not None:
        return route.idle_timeout_ms
    total = route.request_timeout_ms
    return total if total is not None and (total == 0 or total > STREAM_IDLE_MS) else None


def _mirror(mirror: Mirror) -> envoy.RouteAction.RequestMirrorPolicy | None:
    policy = envoy.RouteAction.RequestMirrorPolicy(
        cluster=names.cluster(mirror.cluster),
        disable_shadow_host_suffix_append=True,  # the mirror sees the Host header that the backend sees
    )
    if mirror.fraction is None:
        return policy
    numerator, denominator = mirror.fraction
    if denominator <= 0 or not 0 <= numerator <= denominator:
        raise ValueError(f"{numerator}/{denominator} is no share of the requests to mirror")
    policy.runtime_fraction.CopyFrom(fraction(round(numerator * MILLION / denominator)))
    return policy if numerator else None
