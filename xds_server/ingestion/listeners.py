"""Listeners of a Gateway: what each is worth by itself, beside the others on its port, and to routes.

It must not know which routes there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from xds_server.graph import Fetch
from xds_server.ingestion.attachment import ParentListener
from xds_server.ingestion.certificates import Checked, usable_certificate
from xds_server.ingestion.grants import Grants
from xds_server.ingestion.hostnames import UNIVERSAL, covers, intersection, valid
from xds_server.ingestion.sources import Settings
from xds_server.model.interception import ServiceRef, TransportProtocol
from xds_server.model.listener import Listener, ListenerProtocol, TlsTermination
from xds_server.model.refs import ListenerRef, ObjectRef, TableRef
from xds_server.model.verdict import Condition, Verdict, VerdictRef
from xds_server.objects import gateway as api
from xds_server.objects.gateway import GROUP, Gateway, SecretObjectReference

KINDS_BY_PROTOCOL: Final = {
    "HTTP": ("GRPCRoute", "HTTPRoute"),
    "HTTPS": ("GRPCRoute", "HTTPRoute"),
    "TLS": ("TLSRoute",),
}
TRANSPORT_KINDS: Final = {"TCP": ("TCPRoute",), "UDP": ("UDPRoute",)}
"""Of listeners whose connections and datagrams Envoy never sees."""


def kinds_by_protocol(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    return {**KINDS_BY_PROTOCOL, **TRANSPORT_KINDS} if settings.datapath else KINDS_BY_PROTOCOL


@dataclass(frozen=True, slots=True)
class ListenerFinding:
    """A listener with what was found of it so far; `problem` is its `Accepted` condition when that is False."""

    spec: api.Listener
    hostname: str
    problem: Condition | None
    kinds: tuple[str, ...]
    resolved: Condition
    certificates: tuple[ObjectRef, ...]
    conflict: str = ""
    overlaps: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.problem is None

    @property
    def terminates(self) -> bool:
        return (
            self.spec.protocol in {"HTTPS", "TLS"} and self.spec.tls is not None and self.spec.tls.mode == "Terminate"
        )

    @property
    def of_envoy(self) -> bool:
        return self.spec.protocol in KINDS_BY_PROTOCOL

    @property
    def claims(self) -> bool:
        """Whether it names a hostname of its port, be it served or not."""
        return self.of_envoy and (self.hostname == UNIVERSAL or valid(self.hostname))

    @property
    def served(self) -> bool:
        return self.accepted and (bool(self.certificates) or not self.terminates)


def distinct(listeners: Sequence[api.Listener]) -> Iterator[api.Listener]:
    """The first listener of each name; the API server admits no second one."""
    yield from {listener.name: listener for listener in reversed(listeners)}.values().__reversed__()


# --- by itself -------------------------------------------------------------------------------------------------------


def listener_finding(
    fetch: Fetch,
    settings: Settings,
    grants: Grants,
    checked: Checked,
    ref: ObjectRef,
    gateway: Gateway,
    spec: api.Listener,
    *,
    behind_service: bool = False,
) -> ListenerFinding:
    problem = listener_problem(settings, gateway, spec)
    if problem is None and behind_service and spec.protocol == "UDP":
        message = "protocol UDP is not served behind a Service; expose the Gateway by an address or by the nodes' ports"
        problem = Condition("Accepted", "False", "UnsupportedProtocol", message)
    kinds, invalid_kinds = route_kinds(settings, spec)
    resolved = Condition("ResolvedRefs", "True", "ResolvedRefs")
    certificates: tuple[ObjectRef, ...] = ()
    if spec.protocol in ("HTTPS", "TLS") and spec.tls is not None and spec.tls.mode == "Terminate":
        resolved, certificates = listener_certificates(fetch, grants, checked, ref, spec.tls.certificate_refs)
    if invalid_kinds and resolved.status == "True":
        message = f"allowedRoutes.kinds: protocol {spec.protocol} takes no {', '.join(invalid_kinds[:8])}"
        resolved = Condition("ResolvedRefs", "False", "InvalidRouteKinds", message)
    return ListenerFinding(spec, spec.hostname or UNIVERSAL, problem, kinds, resolved, certificates)


def listener_problem(settings: Settings, gateway: Gateway, spec: api.Listener) -> Condition | None:
    """Why a listener on its own is not accepted; what cannot be done yet is refused, never left out."""
    known = kinds_by_protocol(settings)
    if spec.protocol not in known:
        message = f"protocol {spec.protocol} is not served; use one of {', '.join(known)}"
        return Condition("Accepted", "False", "UnsupportedProtocol", message)
    if spec.port > settings.highest_port:
        message = f"port {spec.port} is not served: with the port offset, {settings.highest_port} is the highest"
        return Condition("Accepted", "False", "PortUnavailable", message)
    if spec.hostname and not valid(spec.hostname):
        return unsupported(f"hostname {spec.hostname!r} is not a lower-case DNS name, with or without a first label *")
    if spec.filters is not None and spec.filters.requests:
        return unsupported("filters: filters before routing are not implemented; remove them")
    if spec.protocol in {"HTTP", *TRANSPORT_KINDS}:
        instead = "HTTPS" if spec.protocol == "HTTP" else "TLS"
        message = f"tls: a listener of protocol {spec.protocol} has none; use protocol {instead}"
        return unsupported(message) if spec.tls else None
    if spec.tls is None:
        return unsupported(f"tls: protocol {spec.protocol} needs it")
    if spec.tls.options:
        return unsupported(f"tls.options: {', '.join(sorted(spec.tls.options)[:8])} is not known; remove it")
    if spec.protocol == "HTTPS" and spec.tls.mode != "Terminate":
        return unsupported("tls.mode: protocol HTTPS terminates TLS; use protocol TLS with TLSRoutes for Passthrough")
    if spec.protocol == "HTTPS" and validates_clients(gateway, spec.port):
        return unsupported("spec.tls.frontend: client certificates are not validated yet, so nobody is let in")
    return None


def unsupported(message: str) -> Condition:
    return Condition("Accepted", "False", "UnsupportedValue", message)


def validates_clients(gateway: Gateway, port: int) -> bool:
    """Whether clients of a port must show certificates: "per port configuration overrides the default"."""
    frontend = gateway.spec.tls.frontend if gateway.spec.tls else None
    if frontend is None:
        return False
    for entry in frontend.per_port:
        if entry.port == port:
            return entry.tls.validation is not None
    return frontend.default.validation is not None


def route_kinds(settings: Settings, spec: api.Listener) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds that may attach, sorted, and those that were asked for in vain."""
    supported = kinds_by_protocol(settings).get(spec.protocol, ())
    if not spec.allowed_routes.kinds:
        return supported, ()
    asked = {(kind.group, kind.kind) for kind in spec.allowed_routes.kinds}
    kinds = tuple(kind for kind in supported if (GROUP, kind) in asked)
    invalid = sorted(f"{group}/{kind}" for group, kind in asked if group != GROUP or kind not in supported)
    return kinds, tuple(invalid)


def listener_certificates(
    fetch: Fetch, grants: Grants, checked: Checked, ref: ObjectRef, refs: Sequence[SecretObjectReference]
) -> tuple[Condition, tuple[ObjectRef, ...]]:
    """The certificates that work, in order, and `ResolvedRefs` with those that do not, and the first one's reason."""
    if not refs:
        message = "tls.certificateRefs: at least one is needed to terminate TLS"
        return Condition("ResolvedRefs", "False", "InvalidCertificateRef", message), ()
    usable: list[ObjectRef] = []
    faults: list[tuple[str, str]] = []
    for position, secret in enumerate(refs):
        found = usable_certificate(fetch, grants, checked, ref, secret)
        if isinstance(found, ObjectRef):
            usable.append(found)
        else:
            faults.append((found[0], f"tls.certificateRefs[{position}]: {found[1]}"))
    return _resolved(faults), tuple(dict.fromkeys(usable))


def _resolved(faults: Sequence[tuple[str, str]]) -> Condition:
    if not faults:
        return Condition("ResolvedRefs", "True", "ResolvedRefs")
    more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
    message = "; ".join(text for _, text in faults[:8]) + more
    return Condition("ResolvedRefs", "False", faults[0][0] or "InvalidCertificateRef", message)


# --- beside the others ----------------------------------------------------------------------------------------------


def with_conflicts(findings: Sequence[ListenerFinding]) -> list[ListenerFinding]:
    """Each listener with its conflicts and overlaps: "the implementation MUST NOT pick one conflicting Listener"."""
    return [with_conflict(finding, [f for f in findings if shares_port(finding, f)]) for finding in findings]


def shares_port(one: ListenerFinding, other: ListenerFinding) -> bool:
    if one is other or not (one.accepted and other.accepted):
        return False
    return one.spec.port == other.spec.port and (one.spec.protocol == "UDP") == (other.spec.protocol == "UDP")


def same_protocol(one: ListenerFinding, other: ListenerFinding) -> bool:
    """Whether something in a connection could tell two listeners of a port apart: HTTPS and TLS both have an SNI."""
    return {one.spec.protocol, other.spec.protocol} <= {"HTTPS", "TLS"} or one.spec.protocol == other.spec.protocol


def with_conflict(finding: ListenerFinding, others: Sequence[ListenerFinding]) -> ListenerFinding:
    reason, rivals = "ProtocolConflict", [o for o in others if not same_protocol(o, finding)]
    if not rivals:
        reason, rivals = "HostnameConflict", [o for o in others if o.hostname == finding.hostname]
    if rivals:
        names = ", ".join(rival.spec.name for rival in rivals[:8])
        message = (
            f"port {finding.spec.port}, {finding.spec.protocol} {finding.hostname} conflicts with listener {names}"
        )
        return replace(finding, problem=Condition("Accepted", "False", reason, message), conflict=reason)
    overlapping = tuple(
        other.spec.name
        for other in others
        if finding.terminates and other.terminates and intersection(finding.hostname, other.hostname) is not None
    )
    return replace(finding, overlaps=overlapping)


def claims_on(port: int, findings: Sequence[ListenerFinding]) -> Iterator[ListenerFinding]:
    """The listeners that name hostnames of a port.

    Those that are not served are among them: requests for a hostname whose listener has no certificate, say, must not
    fall to a listener that asks for less (S16).
    """
    return (finding for finding in findings if finding.claims and finding.spec.port == port)


def more_specific(finding: ListenerFinding, findings: Sequence[ListenerFinding]) -> tuple[str, ...]:
    claimed = (other.hostname for other in claims_on(finding.spec.port, findings))
    return tuple(name for name in claimed if name != finding.hostname and covers(finding.hostname, name))


# --- what it comes to -------------------------------------------------------------------------------------------------


def listener(ref: ObjectRef, finding: ListenerFinding, findings: Sequence[ListenerFinding]) -> Listener:
    misdirected: tuple[str, ...] = ()
    if finding.spec.protocol == "HTTPS":
        # "Gateways SHOULD match the authority of the requests with all the SNI hostname(s) configured across all the
        # Gateway Listeners on the same port and protocol", and answer 421 where another one has it.
        misdirected = tuple(
            other.hostname
            for other in claims_on(finding.spec.port, findings)
            if other is not finding and other.spec.protocol == "HTTPS"
        )
    return Listener(
        ListenerRef(ref, finding.spec.name),
        ref,
        finding.spec.port,
        cast("ListenerProtocol", finding.spec.protocol),
        finding.hostname,
        TlsTermination(finding.certificates) if finding.terminates else None,
        misdirected,
    )


def parent_listener(
    ref: ObjectRef, finding: ListenerFinding, findings: Sequence[ListenerFinding], served: Sequence[ListenerFinding]
) -> ParentListener:
    port, hostname, plaintext = finding.spec.port, finding.hostname, finding.spec.protocol == "HTTP"
    # In plaintext all listeners of a port share a table, where each keeps its hostname; a TLS listener's SNI does that.
    beside = (other.spec.port == port for other in served)
    return ParentListener(
        ListenerRef(ref, finding.spec.name),
        port,
        hostname,
        table(ref, finding),
        finding.kinds,
        finding.spec.allowed_routes.namespaces,
        finding in served,
        finding.claims and any(beside) if plaintext else finding in served and finding.spec.protocol == "HTTPS",
        more_specific(finding, findings),
    )


def table(ref: ObjectRef, finding: ListenerFinding) -> TableRef:
    """That of a listener of bytes or datagrams is none of Envoy's: no hostname has this name."""
    port, protocol = finding.spec.port, finding.spec.protocol
    if not finding.of_envoy:
        return TableRef(ref, port, f"/{protocol}")
    return TableRef(ref, port, "" if protocol == "HTTP" else finding.hostname)


def transport(ref: ObjectRef, finding: ListenerFinding) -> ServiceRef:
    return ServiceRef(ref, finding.spec.port, cast("TransportProtocol", finding.spec.protocol))


def listener_verdict(ref: ObjectRef, generation: int, finding: ListenerFinding) -> Verdict:
    conditions = [finding.problem or Condition("Accepted", "True", "Accepted"), finding.resolved]
    if finding.conflict:
        message = finding.problem.message if finding.problem else ""
        conditions.append(Condition("Conflicted", "True", finding.conflict, message))
    else:
        conditions.append(Condition("Conflicted", "False", "NoConflicts"))
    if finding.overlaps:
        message = f"hostname {finding.hostname} overlaps with that of listener {', '.join(finding.overlaps[:8])}"
        conditions.append(Condition("OverlappingTLSConfig", "True", "OverlappingHostnames", message))
    return Verdict(
        VerdictRef(ref, section=finding.spec.name), generation, tuple(conditions), finding.kinds, attached_routes=0
    )
