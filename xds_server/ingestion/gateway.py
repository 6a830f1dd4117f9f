"""GatewayClass and Gateway: whether they are accepted, what their listeners come to, and the verdicts on both.

It must not know which routes there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import NamedTuple

from xds_server.graph import Fetch
from xds_server.ingestion.address_annotations import requested, sharing
from xds_server.ingestion.addresses import WantedFrontend
from xds_server.ingestion.attachment import Parent
from xds_server.ingestion.certificates import Checked, usable_certificate
from xds_server.ingestion.exposure import (
    InvalidParametersError,
    allowed_host_ports,
    class_exposure,
    gateway_exposure,
)
from xds_server.ingestion.features import SUPPORTED_FEATURES
from xds_server.ingestion.grants import Grants
from xds_server.ingestion.listeners import (
    ListenerFinding,
    distinct,
    listener,
    listener_finding,
    listener_verdict,
    parent_listener,
    transport,
    with_conflicts,
)
from xds_server.ingestion.service_names import selected_by
from xds_server.ingestion.sources import Settings, Sources
from xds_server.model.interception import ServiceRef
from xds_server.model.listener import Listener
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Condition, ConditionStatus, Verdict, VerdictRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects import gateway as api
from xds_server.objects.gateway import Gateway, GatewayClass, SecretObjectReference
from xds_server.objects.tidegate import Exposure


class Exposed(NamedTuple):
    """How a Gateway is exposed, by which of the nodes' ports it may be, and what is wrong with what says so."""

    exposure: Exposure
    allowed_host_ports: tuple[range, ...]
    invalid: str = ""


@dataclass(frozen=True, slots=True)
class GatewayResult:
    """What a Gateway comes to. `frontend` is undecided, and `listeners` are none, while it is not accepted.

    `transports` are its listeners of bytes and datagrams.
    """

    frontend: WantedFrontend
    listeners: tuple[Listener, ...]
    transports: tuple[ServiceRef, ...]
    parent: Parent
    verdicts: tuple[Verdict, ...]
    remarks: tuple[Remark, ...]


def is_ours(fetch: Fetch, sources: Sources, settings: Settings, class_name: str) -> bool:
    """Whether a GatewayClass names this controller; a declared class decides for itself."""
    declared = fetch.get(sources.gateway_classes, ObjectRef("GatewayClass", "", class_name))
    if declared is None:
        return class_name in settings.undeclared_classes
    return declared.spec.controller_name == settings.controller_name


def gateway_class_verdict(fetch: Fetch, sources: Sources, ref: ObjectRef, found: GatewayClass) -> Verdict:
    accepted = Condition("Accepted", "True", "Accepted")
    try:
        class_exposure(fetch, sources, found)
    except InvalidParametersError as problem:
        accepted = Condition("Accepted", "False", "InvalidParameters", str(problem))
    version = Condition("SupportedVersion", "True", "SupportedVersion")
    return Verdict(
        VerdictRef(ref), found.metadata.generation, (accepted, version), supported_features=SUPPORTED_FEATURES
    )


def gateway_result(
    fetch: Fetch,
    sources: Sources,
    settings: Settings,
    grants: Grants,
    checked: Checked,
    ref: ObjectRef,
    gateway: Gateway,
) -> GatewayResult:
    """A Gateway of ours, its listeners and all verdicts on them."""
    exposure, allowed, invalid = exposed(fetch, sources, settings, gateway)
    behind = exposure.type == "Service"
    findings = [
        listener_finding(fetch, settings, grants, checked, ref, gateway, spec, behind_service=behind)
        for spec in distinct(gateway.spec.listeners)
    ]
    findings = with_conflicts(findings)
    accepted = gateway_accepted(gateway, findings, invalid)
    resolved = gateway_resolved(fetch, grants, checked, ref, gateway, findings)
    is_accepted = accepted.status == "True"
    served = [finding for finding in findings if is_accepted and finding.served]
    # One that only lacks its certificate keeps its port: whoever balances load to it is not to lose it meanwhile.
    ports = frozenset(finding.spec.port for finding in findings if finding.accepted)
    return GatewayResult(
        replace(wanted_frontend(ref, gateway, settings, ports, exposure, allowed), undecided=not is_accepted),
        tuple(listener(ref, finding, findings) for finding in served if finding.of_envoy),
        tuple(transport(ref, finding) for finding in served if not finding.of_envoy),
        Parent(ref, tuple(parent_listener(ref, finding, findings, served) for finding in findings)),
        (
            Verdict(VerdictRef(ref), gateway.metadata.generation, (accepted, resolved)),
            *(listener_verdict(ref, gateway.metadata.generation, finding) for finding in findings),
        ),
        tuple(gateway_remarks(ref, gateway)),
    )


def exposed(fetch: Fetch, sources: Sources, settings: Settings, gateway: Gateway) -> Exposed:
    """How a Gateway is exposed, and what is wrong with its parameters or those of its class."""
    name = gateway.spec.gateway_class_name
    declared = fetch.get(sources.gateway_classes, ObjectRef("GatewayClass", "", name))
    try:
        of_class = class_exposure(fetch, sources, declared)
    except InvalidParametersError as problem:
        return Exposed(settings.exposure, (), f"GatewayClass {name} is not accepted: {problem}")
    allowed = allowed_host_ports(of_class or settings.exposure, settings.host_ports)
    try:
        return Exposed(gateway_exposure(fetch, sources, gateway, of_class, settings.exposure), allowed)
    except InvalidParametersError as problem:
        return Exposed(settings.exposure, (), str(problem))


def wanted_frontend(
    ref: ObjectRef,
    gateway: Gateway,
    settings: Settings,
    ports: frozenset[int],
    exposure: Exposure,
    allowed: tuple[range, ...],
) -> WantedFrontend:
    """What a Gateway says of its addresses; those of its spec come before an annotation's."""
    infrastructure = gateway.spec.infrastructure or api.GatewayInfrastructure()
    static = tuple(address.value for address in gateway.spec.addresses if address.value)
    return WantedFrontend(
        ref,
        gateway.metadata.creation_timestamp,
        static or requested(infrastructure.annotations),
        selected_by(ref, {**gateway.metadata.labels, **infrastructure.labels}, settings),
        tuple(address.value for address in gateway.status.addresses),
        ports,
        sharing(infrastructure.annotations),
        exposure,
        allowed_host_ports=allowed,
        passed_labels=infrastructure.labels,
        passed_annotations=infrastructure.annotations,
    )


def gateway_accepted(gateway: Gateway, findings: Sequence[ListenerFinding], invalid: str) -> Condition:
    """`Accepted` of the Gateway itself, the gravest reason first."""
    spec = gateway.spec
    if invalid:
        return Condition("Accepted", "False", "InvalidParameters", invalid)
    if problem := next(filter(None, map(address_problem, spec.addresses)), ""):
        return Condition("Accepted", "False", "UnsupportedAddress", problem)
    counts = Counter(listener.name for listener in spec.listeners)
    repeated = [name for name, count in counts.items() if count > 1]
    refused = [finding.spec.name for finding in findings if not finding.accepted]
    if not refused and not repeated:
        return Condition("Accepted", "True", "Accepted")
    parts = [f"listeners not accepted: {', '.join(refused[:16])}"] if refused else []
    parts += [f"several listeners have one name, the first counts: {', '.join(repeated[:16])}"] if repeated else []
    status: ConditionStatus = "True" if len(refused) < len(findings) else "False"
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


def gateway_remarks(ref: ObjectRef, gateway: Gateway) -> Iterator[Remark]:
    """What the specification lets an implementation leave out, and an author should not have to find out."""
    spec = gateway.spec
    backend = spec.tls.backend if spec.tls else None
    if spec.default_scope == "All":
        yield Remark(ref, "spec.defaultScope", "default Gateways are not implemented: routes must name this one")
    if spec.allowed_listeners is not None and spec.allowed_listeners.namespaces.from_ != "None":
        yield Remark(ref, "spec.allowedListeners", "ListenerSets are not implemented: none is attached")
    if backend is not None and backend.client_certificate_ref is not None:
        text = "BackendTLSPolicy is not implemented: no backend is shown this certificate"
        yield Remark(ref, "spec.tls.backend", text)
    if any(address.routability for address in spec.addresses):
        yield Remark(ref, "spec.addresses", "routability is not implemented: addresses come from the pool")


def certificate_refs(gateway: Gateway) -> Iterator[SecretObjectReference]:
    """Every Secret that a Gateway names for a key pair, permitted or not."""
    for spec in gateway.spec.listeners:
        if spec.tls is not None and spec.tls.mode == "Terminate":
            yield from spec.tls.certificate_refs
    backend = gateway.spec.tls.backend if gateway.spec.tls else None
    if backend is not None and backend.client_certificate_ref is not None:
        yield backend.client_certificate_ref
