"""Answers that Envoy gives itself, and results made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from xds_server.explain.match import UnmodelledError
from xds_server.explain.request import Head
from xds_server.explain.result import Outcome, Result

# Envoy answers gRPC clients 200 and says this in a header instead.
_GRPC_STATUS: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_UNKNOWN: Final = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """`knows_grpc` is false for those who answer in plain HTTP whatever they are asked: the HTTP/1 parser, and CORS."""

    status: int
    reason: str
    location: str = ""
    knows_grpc: bool = True


def answered(answer: Answer, head: Head) -> Result:
    outcome: Outcome = "redirect" if answer.location else "direct_response"
    speaks_grpc = head.is_grpc and answer.knows_grpc
    return Result(
        outcome=outcome,
        status=answer.status,
        grpc_status=_GRPC_STATUS.get(answer.status, _GRPC_UNKNOWN) if speaks_grpc else None,
        location=answer.location,
        reason=answer.reason,
    )


def no_route(reason: str, head: Head) -> Result:
    return replace(answered(Answer(404, reason), head), outcome="no_route")


def described(description: Result, answer: Result) -> Result:
    """An answer with the description of what led to it."""
    return replace(
        description,
        outcome=answer.outcome,
        status=answer.status,
        grpc_status=answer.grpc_status,
        location=answer.location,
        reason="; ".join(filter(None, (description.reason, answer.reason))),
    )


def with_reason(result: Result, reason: str) -> Result:
    return replace(result, reason="; ".join(filter(None, (result.reason, reason))))


def cannot_tell(limit: UnmodelledError) -> str:
    return f"explain cannot tell: {limit} is not modelled"
