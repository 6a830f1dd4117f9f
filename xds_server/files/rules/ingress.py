"""What the API server checks of an Ingress across fields."""

from __future__ import annotations

from xds_server.files.problems import Finding, Path
from xds_server.files.rules.names import Findings, is_address, is_hostname
from xds_server.objects import networking


def ingress(obj: networking.Ingress) -> Findings:
    spec = obj.spec
    if spec.default_backend is None and not spec.rules:
        yield Finding(("spec",), "needs rules or defaultBackend", "add one of them")
    if spec.default_backend is not None:
        yield from _ingress_backend(spec.default_backend, ("spec", "defaultBackend"))
    for at, rule in enumerate(spec.rules):
        yield from _ingress_host(rule.host, ("spec", "rules", at, "host"))
        for position, path in enumerate(rule.http.paths if rule.http else ()):
            below = ("spec", "rules", at, "http", "paths", position)
            yield from _ingress_backend(path.backend, (*below, "backend"))
            if path.path_type != "ImplementationSpecific" or path.path:
                yield from _ingress_path(path, (*below, "path"))
    for at, tls in enumerate(spec.tls):
        for position, host in enumerate(tls.hosts):
            yield from _ingress_host(host, ("spec", "tls", at, "hosts", position))


def _ingress_path(path: networking.HTTPIngressPath, where: Path) -> Findings:
    text = path.path
    if not text.startswith("/"):
        yield Finding(where, f"{text[:80]!r} does not begin with /", "write an absolute path")
    elif path.path_type != "ImplementationSpecific":
        bad = next((part for part in ("//", "/./", "/../", "%2f", "%2F") if part in text), None)
        bad = bad or next((part for part in ("/.", "/..") if text.endswith(part)), None)
        if bad is not None:
            yield Finding(
                where, f"{text[:80]!r} contains {bad!r}", "write the path as a request has it once it is normalised"
            )


def _ingress_host(host: str, where: Path) -> Findings:
    if not host:
        return
    if is_address(host):
        yield Finding(where, f"{host[:80]!r} is an address", "write a DNS name, or leave it out")
    elif not is_hostname(host):
        yield Finding(where, f"{host[:80]!r} is no host name", 'write a DNS name in lower case; "*." may come first')


def _ingress_backend(backend: networking.IngressBackend, where: Path) -> Findings:
    if (backend.service is None) == (backend.resource is None):
        yield Finding(where, "needs either service or resource", "set one of them")
    if backend.service is not None and bool(backend.service.port.name) == bool(backend.service.port.number):
        yield Finding((*where, "service", "port"), "needs either name or number", "set one of them")
