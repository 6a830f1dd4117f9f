"""One Ingress by itself: its hosts, paths and TLS entries, checked and in our words.

It must not know any other object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from xds_server.ingestion import annotations_syntax as syntax
from xds_server.ingestion.age import age
from xds_server.ingestion.annotations import Annotations, annotations_of, without_effect
from xds_server.ingestion.sources import Settings
from xds_server.ingestion.values import shown
from xds_server.model.refs import SHARED_INGRESS, ObjectRef
from xds_server.model.verdict import Warning as Remark
from xds_server.objects.networking import Ingress, IngressBackend, IngressRule

ConditionType = Literal["Accepted", "ResolvedRefs", "PartiallyInvalid"]
PathType = Literal["Exact", "Prefix", "ImplementationSpecific"]

_AMBIGUOUS: Final = (
    "is a regular expression that the whole path must match, because pathType is ImplementationSpecific; "
    "did you mean pathType Prefix?"
)


class HostKey(NamedTuple):
    """A host of a frontend; "*" stands for every host that no Ingress names."""

    frontend: ObjectRef
    host: str


class PathKey(NamedTuple):
    """One path of one host: what two Ingresses cannot both have."""

    frontend: ObjectRef
    host: str
    type: PathType
    path: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that cannot be served as it is written, in the words of a condition."""

    condition: ConditionType
    reason: str
    message: str


@dataclass(slots=True)
class Findings:
    """What is found of one Ingress while it is read, in the order in which it is found."""

    ref: ObjectRef
    faults: list[Fault] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def fault(self, condition: ConditionType, reason: str, message: str) -> None:
        self.faults.append(Fault(condition, reason, message))

    def unsupported(self, message: str) -> None:
        self.fault("PartiallyInvalid", "UnsupportedValue", message)

    def remark(self, field: str, message: str) -> None:
        self.remarks.append(Remark(self.ref, field, message))

    def told(self) -> tuple[tuple[Fault, ...], tuple[Remark, ...]]:
        return tuple(self.faults), tuple(self.remarks)


@dataclass(frozen=True, slots=True)
class PathPlan:
    """A path with its backend; `position` counts the paths of the whole object, and names its routes.

    `catches_all` marks the default backend, which is tried after the paths of every Ingress.
    """

    position: int
    field: str
    host: str
    type: PathType
    path: str
    backend: IngressBackend
    catches_all: bool = False

    def key(self, frontend: ObjectRef) -> PathKey:
        return PathKey(frontend, self.host, self.type, self.path)


@dataclass(frozen=True, slots=True)
class HostPlan:
    """The paths that this Ingress has for a host; `secured` when its own TLS entries cover the host."""

    host: str
    paths: tuple[PathPlan, ...]
    secured: bool = False


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """A host whose TLS this Ingress wants to decide: with the certificates of `secrets`, or by passing it through."""

    host: str
    field: str
    secrets: tuple[ObjectRef, ...] = ()
    passthrough: bool = False


@dataclass(frozen=True, slots=True)
class IngressPlan:
    ref: ObjectRef
    created: str
    generation: int
    frontend: ObjectRef
    annotations: Annotations
    hosts: tuple[HostPlan, ...]
    tls: tuple[TlsPlan, ...]
    faults: tuple[Fault, ...]
    remarks: tuple[Remark, ...]

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first, then by namespace and name: the order in which Ingresses win a conflict."""
        return age(self.created), self.ref.namespace, self.ref.name

    def paths(self) -> Iterator[PathPlan]:
        """Each path once, also where several hosts share it."""
        seen = {path.position: path for host in self.hosts for path in host.paths}
        return iter(seen.values())

    def written(self) -> dict[int, tuple[str, ...]]:
        """The hosts that each path is for, by position; a default backend is for every host."""
        hosts: dict[int, list[str]] = {}
        for host in self.hosts:
            for path in host.paths:
                hosts.setdefault(path.position, []).append("*" if path.catches_all else host.host)
        return {position: tuple(dict.fromkeys(names)) for position, names in hosts.items()}


def ingress_plan(ref: ObjectRef, ingress: Ingress, settings: Settings, remark: str = "") -> IngressPlan:
    """What an Ingress of our class asks for."""
    asked, problems = annotations_of(ingress.metadata.annotations)
    findings = Findings(ref)
    for closed in asked.closed:
        findings.fault("Accepted", "UnsupportedValue", f"every request is answered 403: {closed}")
    for problem in problems:
        findings.remark(field_of(problem.annotation), problem.message)
    if remark:
        findings.remark("spec.ingressClassName", remark)
    mode = asked.loadbalancer_mode or settings.loadbalancer_mode
    if useless := without_effect(asked, mode, settings.exposure.type):
        findings.remark(field_of(""), useless)
    if asked.canary:
        hosts, tls = terminated(ref, ingress, findings, ())
    elif asked.tls_passthrough:
        hosts, tls = passthrough(ref, ingress, findings)
    else:
        hosts, tls = terminated(ref, ingress, findings, tls_plans(ref, ingress, settings, findings))
    return IngressPlan(
        ref=ref,
        created=ingress.metadata.creation_timestamp,
        generation=ingress.metadata.generation,
        frontend=SHARED_INGRESS if mode == "shared" else ref,
        annotations=asked,
        hosts=hosts,
        tls=tls,
        faults=tuple(findings.faults),
        remarks=tuple(findings.remarks),
    )


def field_of(annotation: str) -> str:
    return f"metadata.annotations[{annotation}]" if annotation else "metadata.annotations"


def terminated(
    ref: ObjectRef, ingress: Ingress, findings: Findings, tls: tuple[TlsPlan, ...]
) -> tuple[tuple[HostPlan, ...], tuple[TlsPlan, ...]]:
    """Hosts and TLS of an Ingress whose requests are read and routed by path."""
    by_host: dict[str, list[PathPlan]] = {}
    position = 0
    for number, rule in enumerate(ingress.spec.rules):
        field = f"spec.rules[{number}]"
        host = rule_host(rule, field, findings)
        if host is not None:
            by_host.setdefault(host, [])
        for path_number, path in enumerate(rule.http.paths if rule.http else ()):
            path_field = f"{field}.http.paths[{path_number}]"
            if host is not None:
                plan = PathPlan(position, path_field, host, path.path_type, path.path or "/", path.backend)
                by_host[host].append(plan)
                if path.path_type == "ImplementationSpecific" and (path.path == "/" or path.path.endswith("/*")):
                    findings.remark(f"{path_field}.path", f"{shown(path.path)} {_AMBIGUOUS}")
            position += 1
    catch_all: tuple[PathPlan, ...] = ()
    if ingress.spec.default_backend is not None:
        backend = ingress.spec.default_backend
        catch_all = (PathPlan(position, "spec.defaultBackend", "*", "Prefix", "/", backend, catches_all=True),)
        by_host.setdefault("*", [])
    secured = frozenset(plan.host for plan in tls)
    # A host that only TLS names is served by the rules that would take its requests: a wildcard's, or those of no host.
    for host in secured:
        if host != "*" and host not in by_host:
            own = next((by_host[name] for name in (wildcard(host), "*") if name in by_host), None)
            if own is not None:
                by_host[host] = list(own)
    hosts = (
        HostPlan(host, (*paths, *catch_all), bool(secured & {host, wildcard(host), "*"}))
        for host, paths in sorted(by_host.items())
    )
    return tuple(hosts), tls


def passthrough(
    ref: ObjectRef, ingress: Ingress, findings: Findings
) -> tuple[tuple[HostPlan, ...], tuple[TlsPlan, ...]]:
    """Hosts whose TLS connections go to the backend of their path "/" unread."""
    by_host: dict[str, list[PathPlan]] = {}
    position = 0
    for number, rule in enumerate(ingress.spec.rules):
        field = f"spec.rules[{number}]"
        host = rule_host(rule, field, findings)
        if host == "*":
            message = f"{field}.host: TLS passthrough chooses by the host name in the TLS handshake; name a host"
            findings.unsupported(message)
        for path_number, path in enumerate(rule.http.paths if rule.http else ()):
            path_field = f"{field}.http.paths[{path_number}]"
            if host is not None and host != "*":
                paths = by_host.setdefault(host, [])
                if path.path not in {"", "/"} or paths:
                    message = f"{path_field}: TLS passthrough cannot see paths; only one path, '/', can be served"
                    findings.unsupported(message)
                else:
                    paths.append(PathPlan(position, path_field, host, "Prefix", "/", path.backend))
            position += 1
    if ingress.spec.default_backend is not None:
        findings.remark("spec.defaultBackend", "ignored: TLS passthrough chooses by host name alone")
    if ingress.spec.tls:
        findings.remark("spec.tls", "ignored: with TLS passthrough the backend presents its own certificate")
    hosts = tuple(HostPlan(host, tuple(paths), secured=True) for host, paths in sorted(by_host.items()))
    return hosts, tuple(TlsPlan(plan.host, "spec.rules", passthrough=True) for plan in hosts)


def rule_host(rule: IngressRule, field: str, findings: Findings) -> str | None:
    """The host of a rule, "*" when it names none; None when it cannot be served."""
    host = checked_host(rule.host)
    if host is None:
        message = f"{field}.host: neither a DNS name nor '*.' and a DNS name; write it as in shop.example.com"
        findings.unsupported(message)
    return host


def checked_host(text: str) -> str | None:
    if not text:
        return "*"
    if text != text.strip():
        return None
    try:
        name = syntax.hostname(text.removeprefix("*."))
    except ValueError:
        return None
    if name.rsplit(".", 1)[-1].isdigit():  # an address, which HTTP and TLS do not treat as a name
        return None
    return f"*.{name}" if text.startswith("*.") else name


def wildcard(host: str) -> str:
    """The wildcard that covers a host by exactly one label: "*.example.com" for "a.example.com"; "" if none."""
    _, dot, parent = host.partition(".")
    return f"*.{parent}" if dot and not host.startswith("*.") else ""


def tls_plans(ref: ObjectRef, ingress: Ingress, settings: Settings, findings: Findings) -> tuple[TlsPlan, ...]:
    """The TLS entries by host: without hosts an entry is for all, without Secret it takes the default certificate."""
    by_host: dict[str, TlsPlan] = {}
    for number, entry in enumerate(ingress.spec.tls):
        field = f"spec.tls[{number}]"
        secret = (
            ObjectRef("Secret", ref.namespace, entry.secret_name) if entry.secret_name else settings.default_tls_secret
        )
        if secret is None:
            message = f"{field}: names no Secret, and there is no default certificate; set secretName"
            findings.fault("ResolvedRefs", "InvalidCertificateRef", message)
        for text in entry.hosts or ("",):
            host = checked_host(text)
            if host is None:
                message = f"{field}.hosts: one is neither a DNS name nor '*.' and a DNS name"
                findings.unsupported(message)
                continue
            before = by_host.get(host, TlsPlan(host, field))
            secrets = (*before.secrets, secret) if secret and secret not in before.secrets else before.secrets
            by_host[host] = TlsPlan(host, before.field, secrets)
    return tuple(plan for _, plan in sorted(by_host.items()))
