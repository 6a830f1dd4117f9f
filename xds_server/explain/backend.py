"""The backends of a result: clusters with their weights, the Services they are made of, and their endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import gcd, lcm

from xds_server.explain import origin
from xds_server.explain.cluster import endpoints
from xds_server.explain.result import Backend, Result
from xds_server.model.resource import Resource, ResourceKey


def with_backends(
    resources: Mapping[ResourceKey, Resource], result: Result, weighted: Iterable[tuple[str, int]]
) -> Result:
    """Clusters by name and weight; a weight of 0 gets nothing, so it is left out."""
    return only(result, [_backend(resources, name, weight) for name, weight in weighted if weight])


def with_all_backends(result: Result, shares: Sequence[tuple[Fraction, Result]]) -> Result:
    """The backends of several results, weighted by what each result's share leaves to them."""
    weighted = [
        (each, share * Fraction(each.weight, sum(other.weight for other in part.backends)))
        for share, part in shares
        for each in part.backends
    ]
    whole = lcm(*(weight.denominator for _, weight in weighted))
    integers = [int(weight * whole) for _, weight in weighted]
    divisor = gcd(*integers) or 1
    return only(
        result,
        [replace(each, weight=integer // divisor) for (each, _), integer in zip(weighted, integers, strict=True)],
    )


def only(result: Result, backends: Sequence[Backend]) -> Result:
    """The result with some of its backends."""
    reached = dict.fromkeys(endpoint for each in backends for endpoint in each.endpoints)
    names = {each.cluster for each in backends}
    return replace(
        result,
        cluster=names.pop() if len(names) == 1 else "",
        backends=tuple(backends),
        endpoints=tuple(reached),
    )


def _backend(resources: Mapping[ResourceKey, Resource], name: str, weight: int) -> Backend:
    ref = origin.cluster(name)
    service, port = (f"{ref.namespace}/{ref.service}", ref.port) if ref else ("", 0)
    return Backend(name, service, port, weight, endpoints(resources, name) or ())
