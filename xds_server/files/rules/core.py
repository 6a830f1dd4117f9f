"""What the API server checks of core kinds across fields, and in code."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from ipaddress import ip_address
from typing import Final

from xds_server.files.problems import Finding
from xds_server.files.rules.names import SUBDOMAIN, Findings, is_address, unique
from xds_server.objects import core

_DATA_KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_DATA_BYTES: Final = 1 << 20


def service(obj: core.Service) -> Findings:
    ports = obj.spec.ports
    if obj.spec.type == "ExternalName" and not SUBDOMAIN.fullmatch(obj.spec.external_name.removesuffix(".")):
        yield Finding(("spec", "externalName"), "must be a host name when type is ExternalName", "set it to a DNS name")
    if obj.spec.type != "ExternalName" and not ports and obj.spec.cluster_ip != "None":
        yield Finding(("spec", "ports"), "is required", "list a port, or set clusterIP: None")
    if len(ports) > 1:
        for at, port in enumerate(ports):
            if not port.name:
                yield Finding(
                    ("spec", "ports", at, "name"), "is required when there are several ports", "name the port"
                )
    yield from _cluster_addresses(obj.spec)
    yield from unique(
        ((("spec", "ports", at, "name"), p.name) for at, p in enumerate(ports) if p.name), "the name of a port"
    )
    yield from unique(
        ((("spec", "ports", at), (p.port, p.protocol)) for at, p in enumerate(ports)), "port and protocol"
    )


def _cluster_addresses(spec: core.ServiceSpec) -> Findings:
    for path, text in (
        (("spec", "clusterIP"), spec.cluster_ip),
        *((("spec", "clusterIPs", at), text) for at, text in enumerate(spec.cluster_ips)),
    ):
        if text not in {"", "None"} and (not is_address(text) or "%" in text):
            yield Finding(path, f"{text[:80]!r} is no IP address", "write one, or None, or leave it out")
    if spec.cluster_ip and spec.cluster_ips and spec.cluster_ip != spec.cluster_ips[0]:
        yield Finding(("spec", "clusterIPs", 0), "is not what clusterIP is", "write the same, or leave one of them out")


def endpoint_slice(obj: core.EndpointSlice) -> Findings:
    version = {"IPv4": 4, "IPv6": 6}.get(obj.address_type)
    for at, endpoint in enumerate(obj.endpoints):
        for position, text in enumerate(endpoint.addresses):
            path = ("endpoints", at, "addresses", position)
            if version is None:
                if not SUBDOMAIN.fullmatch(text):
                    yield Finding(
                        path, f"{text[:80]!r} is no domain name, as addressType FQDN asks for", "write a DNS name"
                    )
            elif not is_address(text) or ip_address(text).version != version or "%" in text:
                yield Finding(
                    path, f"{text[:80]!r} is no {obj.address_type} address", "write an address, or change addressType"
                )
    yield from unique(((("ports", at, "name"), p.name) for at, p in enumerate(obj.ports)), "the name of a port")


def secret(obj: core.Secret) -> Findings:
    """Names keys, never values."""
    size = 0
    for field, texts in (("data", obj.data), ("stringData", obj.string_data)):
        for key, text in texts.items():
            if not _DATA_KEY.fullmatch(key):
                yield Finding((field, key), "is no key", "use letters, digits, - _ .")
            size += len(text)
            if field == "data" and not _is_base64(text):
                yield Finding(
                    (field, key), "is no base64", "encode it with `base64 -w0`, or move it to stringData as plain text"
                )
    if size > _DATA_BYTES * 4 // 3:
        yield Finding(("data",), f"is larger than {_DATA_BYTES} bytes", "split the Secret")


def _is_base64(text: str) -> bool:
    try:
        b64decode("".join(text.split()), validate=True)
    except (Base64Error, ValueError):
        return False
    return True


def config_map(obj: core.ConfigMap) -> Findings:
    for key in obj.data:
        if not _DATA_KEY.fullmatch(key):
            yield Finding(("data", key), "is no key", "use letters, digits, - _ .")
