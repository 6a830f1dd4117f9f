"""GatewayClass and Gateway: listeners that are served, what routes see of them, and the verdicts on both.

It must not know which routes there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final, cast

from xds_server.graph import Collection, Fetch
from xds_server.ingestion.addresses import WantedFrontend
from xds_server.ingestion.attachment import Parent, ParentListener
from xds_server.ingestion.features import SUPPORTED_FEATURES
from xds_server.ingestion.grants import Grants, permitted
from xds_server.ingestion.hostnames import UNIVERSAL, covers, intersection, valid
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.backend import Certificate, InvalidCertificate
from xds_server.model.listener import Listener, ListenerProtocol, TlsTermination
from xds_server.model.refs import ListenerRef, ObjectRef, TableRef
from xds_server.model.verdict import Condition, Verdict, VerdictRef
from xds_server.objects import gateway as api
from xds_server.objects.gateway import GROUP, Gateway, GatewayClass, SecretObjectReference

Checked = Collection[ObjectRef, Certificate | InvalidCertificate]

KINDS_BY_PROTOCOL: Final = {
    "HTTP": ("GRPCRoute", "HTTPRoute"),
    "HTTPS": ("GRPCRoute", "HTTPRoute"),
    "TLS": ("TLSRoute",),
}


@dataclass(frozen=True, slots=True)
class GatewayResult:
    """What a Gateway comes to. `frontend` is None, and `listeners` are none, while it is not accepted."""

    frontend: WantedFrontend | None
    listeners: tuple[Listener, ...]
    parent: Parent
    verdicts: tuple[Verdict, ...]


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
        return self.spec.protocol != "HTTP" and self.spec.tls is not None and self.spec.tls.mode == "Terminate"

    @property
    def served(self) -> bool:
        return self.accepted and (bool(self.certificates) or not self.terminates)


def is_ours(fetch: Fetch, sources: Sources, settings: Settings, class_name: str) -> bool:
    """Whether a GatewayClass names this controller; a declared class decides for itself."""
    declared = fetch.get(sources.gateway_classes, ObjectRef("GatewayClass", "", class_name))
    if declared is None:
        return class_name in settings.undeclared_classes
    return declared.spec.controller_name == settings.controller_name


def gateway_class_verdict(ref: ObjectRef, found: GatewayClass) -> Verdict:
    accepted = Condition("Accepted", "True", "Accepted")
    if found.spec.parameters_ref is not None:
        parameters = found.spec.parameters_ref
        message = f"spec.parametersRef: no {parameters.group}/{parameters.kind} is read here; remove it"
        accepted = Condition("Accepted", "False", "InvalidParameters", message)
    version = Condition("SupportedVersion", "True", "SupportedVersion")
    return Verdict(
        VerdictRef(ref), found.metadata.generation, (accepted, version), supported_features=SUPPORTED_FEATURES
    )


def gateway_result(
    fetch: Fetch,
    sources: Sources,
    grants: Grants,
    checked: Checked,
    ref: ObjectRef,
    gateway: Gateway,
) -> GatewayResult:
    """A Gateway of ours, its listeners and all verdicts on them."""
    findings = [
        listener_finding(fetch, grants, checked, ref, gateway, spec) for spec in distinct(gateway.spec.listeners)
    ]
    findings = with_conflicts(findings)
    accepted = gateway_accepted(fetch, sources, gateway, findings)
    resolved = gateway_resolved(fetch, grants, checked, ref, gateway, findings)
    is_accepted = accepted.status == "True"
    frontend = None
    if is_accepted:
        static = tuple(address.value for address in gateway.spec.addresses if address.value)
        frontend = WantedFrontend(ref, gateway.metadata.creation_timestamp, static)
    served = [finding for finding in findings if is_accepted and finding.served]
    return GatewayResult(
        frontend,
        tuple(listener(ref, finding, served) for finding in served),
        Parent(ref, tuple(parent_listener(ref, finding, served) for finding in findings)),
        (
            Verdict(VerdictRef(ref), gateway.metadata.generation, (accepted, resolved)),
            *(listener_verdict(ref, gateway.metadata.generation, finding) for finding in findings),
        ),
    )


def distinct(listeners: Sequence[api.Listener]) -> Iterator[api.Listener]:
    """The first listener of each name; the API server admits no second one."""
    yield from {listener.name: listener for listener in reversed(listeners)}.values().__reversed__()


# --- one listener -----------------------------------------------------------------------------------------------------


def listener_finding(
    fetch: Fetch, grants: Grants, checked: Checked, ref: ObjectRef, gateway: Gateway, spec: api.Listener
) -> ListenerFinding:
    problem = listener_problem(gateway, spec)
    kinds, invalid_kinds = route_kinds(spec)
    resolved = Condition("ResolvedRefs", "True", "ResolvedRefs")
    certificates: tuple[ObjectRef, ...] = ()
    if spec.protocol in ("HTTPS", "TLS") and spec.tls is not None and spec.tls.mode == "Terminate":
        resolved, certificates = listener_certificates(fetch, grants, checked, ref, spec.tls.certificate_refs)
    if invalid_kinds and resolved.status == "True":
        message = f"allowedRoutes.kinds: protocol {spec.protocol} takes no {', '.join(invalid_kinds[:8])}"
        resolved = Condition("ResolvedRefs", "False", "InvalidRouteKinds", message)
    return ListenerFinding(spec, spec.hostname or UNIVERSAL, problem, kinds, resolved, certificates)


def listener_problem(gateway: Gateway, spec: api.Listener) -> Condition | None:  # one guard a problem
    """Why a listener on its own is not accepted; what cannot be done yet is refused, never left out."""
    if spec.protocol not in KINDS_BY_PROTOCOL:
        message = f"protocol {spec.protocol} is not served; use one of {', '.join(KINDS_BY_PROTOCOL)}"
        return Condition("Accepted", "False", "UnsupportedProtocol", message)
    if spec.hostname and not valid(spec.hostname):
        return unsupported(f"hostname {spec.hostname!r} is not a lower-case DNS name, with or without a first label *")
    if spec.filters is not None and spec.filters.requests:
        return unsupported("filters: filters before routing are not implemented; remove them")
    if spec.protocol == "HTTP":
        return unsupported("tls: a listener of protocol HTTP has none; use protocol HTTPS") if spec.tls else None
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


def route_kinds(spec: api.Listener) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The kinds that may attach, sorted, and those that were asked for in vain."""
    supported = KINDS_BY_PROTOCOL.get(spec.protocol, ())
    if not spec.allowed_routes.kinds:
        return supported, ()
    asked = {(kind.group, kind.kind) for kind in spec.allowed_routes.kinds}
    kinds = tuple(kind for kind in supported if (GROUP, kind) in asked)
    invalid = sorted(f"{group}/{kind}" for group, kind in asked if group != GROUP or kind not in supported)
    return kinds, tuple(invalid)


def listener_certificates(
    fetch: Fetch, grants: Grants, checked: Checked, ref: ObjectRef, refs: Sequence[SecretObjectReference]
) -> tuple[Condition, tuple[ObjectRef, ...]]:
    """The certificates that work, in order, and `ResolvedRefs` with the first that does not."""
    resolved = Condition("ResolvedRefs", "True", "ResolvedRefs")
    if not refs:
        message = "tls.certificateRefs: at least one is needed to terminate TLS"
        return Condition("ResolvedRefs", "False", "InvalidCertificateRef", message), ()
    usable: list[ObjectRef] = []
    for secret in refs:
        found = usable_certificate(fetch, grants, checked, ref, secret)
        if isinstance(found, ObjectRef):
            usable.append(found)
        elif resolved.status == "True":
            resolved = Condition("ResolvedRefs", "False", found[0] or "InvalidCertificateRef", found[1])
    return resolved, tuple(dict.fromkeys(usable))


def certificate_target(ref: ObjectRef, secret: SecretObjectReference) -> ObjectRef | None:
    if (secret.group, secret.kind) != ("", "Secret"):
        return None
    return ObjectRef("Secret", secret.namespace or ref.namespace, secret.name)


def usable_certificate(
    fetch: Fetch, grants: Grants, checked: Checked, ref: ObjectRef, secret: SecretObjectReference
) -> ObjectRef | tuple[str, str]:
    """The Secret of a reference that may be used and can be, or the reason and message why not.

    The grant is checked before existence, so that nobody learns what there is in another namespace.
    """
    target = certificate_target(ref, secret)
    if target is None:
        return "", f"certificate {secret.name} is a {secret.group}/{secret.kind}; only Secrets are read"
    if not permitted(fetch, grants, ref, target):
        return "RefNotPermitted", f"{target}: no ReferenceGrant there allows Gateways of namespace {ref.namespace}"
    found = fetch.get(checked, target)
    if isinstance(found, Certificate):
        return target
    return "", f"{target}: {found.message}" if found else f"{target} does not exist"


# --- listeners of one port --------------------------------------------------------------------------------------------


def with_conflicts(findings: Sequence[ListenerFinding]) -> list[ListenerFinding]:
    """Each listener with its conflicts and overlaps: "the implementation MUST NOT pick one conflicting Listener"."""
    return [with_conflict(finding, [f for f in findings if shares_port(finding, f)]) for finding in findings]


def shares_port(one: ListenerFinding, other: ListenerFinding) -> bool:
    return one is not other and one.accepted and other.accepted and one.spec.port == other.spec.port


def with_conflict(finding: ListenerFinding, others: Sequence[ListenerFinding]) -> ListenerFinding:
    plaintext = finding.spec.protocol == "HTTP"
    reason, rivals = "ProtocolConflict", [o for o in others if (o.spec.protocol == "HTTP") != plaintext]
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


def more_specific(finding: ListenerFinding, served: Sequence[ListenerFinding]) -> tuple[str, ...]:
    return tuple(
        other.hostname
        for other in served
        if other is not finding and other.spec.port == finding.spec.port and covers(finding.hostname, other.hostname)
    )


# --- what it comes to -------------------------------------------------------------------------------------------------


def listener(ref: ObjectRef, finding: ListenerFinding, served: Sequence[ListenerFinding]) -> Listener:
    misdirected: tuple[str, ...] = ()
    if finding.spec.protocol == "HTTPS":
        # "Gateways SHOULD match the authority of the requests with all the SNI hostname(s) configured across all the
        # Gateway Listeners on the same port and protocol", and answer 421 where another one has it.
        misdirected = tuple(
            other.hostname
            for other in served
            if other is not finding and (other.spec.port, other.spec.protocol) == (finding.spec.port, "HTTPS")
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


def parent_listener(ref: ObjectRef, finding: ListenerFinding, served: Sequence[ListenerFinding]) -> ParentListener:
    port, hostname = finding.spec.port, finding.hostname
    return ParentListener(
        ListenerRef(ref, finding.spec.name),
        port,
        hostname,
        TableRef(ref, port, "" if finding.spec.protocol == "HTTP" else hostname),
        finding.kinds,
        finding.spec.allowed_routes.namespaces,
        finding in served,
        more_specific(finding, served),
    )


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


def gateway_accepted(
    fetch: Fetch, sources: Sources, gateway: Gateway, findings: Sequence[ListenerFinding]
) -> Condition:
    """`Accepted` of the Gateway itself, the gravest reason first."""
    spec = gateway.spec
    declared = fetch.get(sources.gateway_classes, ObjectRef("GatewayClass", "", spec.gateway_class_name))
    if declared is not None and declared.spec.parameters_ref is not None:
        message = f"GatewayClass {spec.gateway_class_name} is not accepted: its parametersRef is not known"
        return Condition("Accepted", "False", "InvalidParameters", message)
    if spec.infrastructure is not None and spec.infrastructure.parameters_ref is not None:
        parameters = spec.infrastructure.parameters_ref
        message = f"infrastructure.parametersRef: no {parameters.group}/{parameters.kind} is read here; remove it"
        return Condition("Accepted", "False", "InvalidParameters", message)
    if problem := next(filter(None, map(address_problem, spec.addresses)), ""):
        return Condition("Accepted", "False", "UnsupportedAddress", problem)
    counts = Counter(listener.name for listener in spec.listeners)
    repeated = [name for name, count in counts.items() if count > 1]
    refused = [finding.spec.name for finding in findings if not finding.accepted]
    if not refused and not repeated:
        return Condition("Accepted", "True", "Accepted")
    parts = [f"listeners not accepted: {', '.join(refused[:16])}"] if refused else []
    parts += [f"several listeners have one name, the first counts: {', '.join(repeated[:16])}"] if repeated else []
    status: Final = "True" if len(refused) < len(findings) else "False"
    return Condition("Accepted", status, "ListenersNotValid", "; ".join(parts))


def address_problem(address: api.GatewayAddress) -> str:
    if address.type != "IPAddress":
        return f"addresses: type {address.type} is not known; use IPAddress"
    if not address.value:
        return ""
    try:
        ip_address(address.value)
    except ValueError:
        return f"addresses: {address.value!r} is not an IP address"
    return ""


def gateway_resolved(
    fetch: Fetch,
    grants: Grants,
    checked: Checked,
    ref: ObjectRef,
    gateway: Gateway,
    findings: Sequence[ListenerFinding],
) -> Condition:
    """The Gateway's own references, then a summary of its listeners'."""
    backend = gateway.spec.tls.backend if gateway.spec.tls else None
    if backend is not None and backend.client_certificate_ref is not None:
        found = usable_certificate(fetch, grants, checked, ref, backend.client_certificate_ref)
        if not isinstance(found, ObjectRef):
            reason, message = found
            message = f"tls.backend.clientCertificateRef: {message}"
            return Condition("ResolvedRefs", "False", reason or "InvalidClientCertificateRef", message)
    unresolved = [finding.spec.name for finding in findings if finding.resolved.status == "False"]
    if unresolved:
        message = f"listeners with references that do not resolve: {', '.join(unresolved[:16])}"
        return Condition("ResolvedRefs", "False", "ListenersNotResolved", message)
    return Condition("ResolvedRefs", "True", "ResolvedRefs")


def certificate_refs(gateway: Gateway) -> Iterator[SecretObjectReference]:
    """Every Secret that a Gateway names for a key pair, permitted or not."""
    for spec in gateway.spec.listeners:
        if spec.tls is not None and spec.tls.mode == "Terminate":
            yield from spec.tls.certificate_refs
    backend = gateway.spec.tls.backend if gateway.spec.tls else None
    if backend is not None and backend.client_certificate_ref is not None:
        yield backend.client_certificate_ref
