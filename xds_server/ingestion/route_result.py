"""What a route object of any kind comes to: attachments, routes, and one verdict for each of its parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from xds_server.ingestion.attachment import ParentOutcome
from xds_server.ingestion.values import Refusal
from xds_server.model.backend import InvalidBackend
from xds_server.model.listener import Attachment
from xds_server.model.refs import ClusterRef, ObjectRef
from xds_server.model.route import DirectResponse, Route
from xds_server.model.verdict import Condition, Verdict
from xds_server.model.verdict import Warning as Remark

ERROR: Final = DirectResponse(500)
"""The answer of a rule that cannot work."""

_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class RouteResult:
    attachments: tuple[Attachment, ...] = ()
    routes: tuple[Route, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(slots=True)
class Findings:
    """What the rules of one route turned out to ask for in vain, in their order, and what its author should know."""

    rules: int
    refused: dict[int, Refusal] = field(default_factory=dict)
    unresolved: list[InvalidBackend] = field(default_factory=list)
    remarks: dict[str, str] = field(default_factory=dict)
    unverified: set[ClusterRef] = field(default_factory=set)

    def refuse(self, rule: int, refusal: Refusal) -> None:
        self.refused.setdefault(rule, refusal)

    def unresolve(self, field: str, backend: InvalidBackend) -> None:
        self.unresolved.append(replace(backend, field=field))

    def remark(self, field: str, message: str) -> None:
        self.remarks[field] = message

    @property
    def accepted(self) -> bool:
        # "A Route MUST be considered "Accepted" if at least one of the Route's rules is implemented."
        return len(self.refused) < self.rules or not self.refused


def route_result(
    source: ObjectRef,
    generation: int,
    outcomes: Sequence[ParentOutcome],
    routes: Iterable[Route],
    findings: Findings,
) -> RouteResult:
    """A route that is refused as a whole stays attached and answers 500: no other route may get its requests."""
    attachments = {
        (attachment.source, attachment.listener): attachment
        for outcome in outcomes
        for attachment in outcome.attachments(source, accepted=findings.accepted)
    }
    verdicts = tuple(
        Verdict(outcome.verdict, generation, conditions(outcome.accepted, findings), parent=outcome.parent)
        for outcome in outcomes
    )
    return RouteResult(tuple(attachments.values()), tuple(routes), verdicts, tuple(remarks(source, findings)))


def remarks(source: ObjectRef, findings: Findings) -> Iterator[Remark]:
    for name, message in findings.remarks.items():
        yield Remark(source, name, message)
    if findings.unverified:
        names = [f"{ref.namespace}/{ref.service}:{ref.port}" for ref in sorted(findings.unverified)]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        message = f"appProtocol has TLS spoken to {', '.join(names[:_SHOWN])}{more}, and no certificate is verified"
        yield Remark(source, "spec.rules", message)


def conditions(accepted: Condition, findings: Findings) -> tuple[Condition, ...]:
    """`Accepted` and `ResolvedRefs` always, `PartiallyInvalid` where only some rules are refused."""
    found = [accepted, resolved_refs(findings)]
    if accepted.status == "True" and findings.refused:
        message = "; ".join(f"rule {rule}: {refusal}" for rule, refusal in sorted(findings.refused.items())[:_SHOWN])
        reason = findings.refused[min(findings.refused)].reason
        if not findings.accepted:
            found[0] = Condition("Accepted", "False", reason, message)
        else:
            found.append(Condition("PartiallyInvalid", "True", reason, f"Dropped Rule: answers 500: {message}"))
    return tuple(found)


def resolved_refs(findings: Findings) -> Condition:
    if not findings.unresolved:
        return Condition("ResolvedRefs", "True", "ResolvedRefs")
    fields: dict[str, dict[str, None]] = {}
    for backend in findings.unresolved:
        fields.setdefault(backend.message, {})[backend.field] = None
    messages = [f"{_listed([*found])}: {message}" for message, found in fields.items()]
    return Condition("ResolvedRefs", "False", findings.unresolved[0].reason, "; ".join(messages[:_SHOWN]))


def _listed(fields: Sequence[str]) -> str:
    more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
    return ", ".join(fields[:_SHOWN]) + more
