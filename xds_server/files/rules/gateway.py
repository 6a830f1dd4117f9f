"""The validation rules of Gateways, across fields."""

from __future__ import annotations

from typing import Final

from xds_server.files.problems import Finding
from xds_server.files.rules.filters import Bodies, bodies
from xds_server.files.rules.names import Findings, is_address, is_hostname, unique
from xds_server.objects import gateway

_LISTENER_FILTER_BODIES: Final[Bodies] = {
    "ExternalAuth": ("externalAuth", "external_auth"),
    "ExtensionRef": ("extensionRef", "extension_ref"),
}


def gateway_(obj: gateway.Gateway) -> Findings:
    spec = obj.spec
    for at, address_ in enumerate(spec.addresses):
        where = ("spec", "addresses", at, "value")
        if address_.type == "IPAddress" and address_.value and not is_address(address_.value):
            yield Finding(where, f"{address_.value[:80]!r} is no IP address", "write an address, or set type: Hostname")
        if address_.type == "Hostname" and address_.value and not is_hostname(address_.value):
            yield Finding(where, f"{address_.value[:80]!r} is no host name", "write a DNS name in lower case")
    yield from unique(
        ((("spec", "addresses", at), (a.type, a.value)) for at, a in enumerate(spec.addresses) if a.value), "an address"
    )
    for at, listener in enumerate(spec.listeners):
        for finding in _listener(listener):
            yield finding.below("spec", "listeners", at)
    yield from unique(
        (
            (("spec", "listeners", at), (each.port, each.protocol, each.hostname))
            for at, each in enumerate(spec.listeners)
        ),
        "the combination of port, protocol and hostname",
    )
    frontend = spec.tls.frontend if spec.tls else None
    for at, port in enumerate(frontend.per_port if frontend else ()):
        if port.tls.validation is not None and not port.tls.validation.ca_certificate_refs:
            yield Finding(
                ("spec", "tls", "frontend", "perPort", at, "tls"), "validation needs caCertificateRefs", "list one"
            )


def _listener(listener: gateway.Listener) -> Findings:
    tls, protocol = listener.tls, listener.protocol
    if protocol in {"HTTP", "TCP", "UDP"} and tls is not None:
        yield Finding(("tls",), f"must not be set for protocol {protocol}", "remove it, or set protocol: HTTPS or TLS")
    if protocol == "HTTPS" and tls is not None and tls.mode != "Terminate":
        yield Finding(
            ("tls", "mode"), "must be Terminate for protocol HTTPS", "set protocol: TLS to pass connections through"
        )
    if protocol == "TLS" and tls is None:
        yield Finding(("tls",), "is required for protocol TLS", "set tls.mode: Passthrough or Terminate")
    if tls is not None and tls.mode == "Terminate" and not tls.certificate_refs and not tls.options:
        yield Finding(
            ("tls", "certificateRefs"), "is required when mode is Terminate", "name a Secret of type kubernetes.io/tls"
        )
    if protocol in {"TCP", "UDP"} and listener.hostname:
        yield Finding(("hostname",), f"must not be set for protocol {protocol}", "remove it")
    if listener.hostname and is_address(listener.hostname):
        yield Finding(("hostname",), f"{listener.hostname!r} is an address", "write a DNS name, or leave it out")
    if listener.filters is not None and protocol not in {"HTTP", "HTTPS"}:
        yield Finding(("filters",), f"must not be set for protocol {protocol}", "remove it")
    for at, request in enumerate(listener.filters.requests if listener.filters else ()):
        for finding in bodies(request, _LISTENER_FILTER_BODIES):
            yield finding.below("filters", "requests", at)
