"""The wire form of discovery responses, so that each resource is encoded once and a response is a join.

A repeated field is the concatenation of its elements; that is all of protobuf that this module relies on.
Knows field numbers and bytes; must not know what is subscribed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

RESOURCE_TYPE: Final = "type.googleapis.com/envoy.service.discovery.v3.Resource"

VIRTUAL_HOSTS: Final = 2  # of RouteConfiguration

_ANY_TYPE_URL, _ANY_VALUE = 1, 2
_RESOURCE_VERSION, _RESOURCE_ANY, _RESOURCE_NAME, _RESOURCE_ALIASES, _RESOURCE_TTL = 1, 2, 3, 4, 6
_DELTA_RESOURCES, _DELTA_TYPE_URL, _DELTA_NONCE, _DELTA_REMOVED = 2, 4, 5, 6
_SOTW_VERSION, _SOTW_RESOURCES, _SOTW_TYPE_URL, _SOTW_NONCE = 1, 2, 4, 5
_DURATION_SECONDS = 1


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field: a string, bytes or message."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def _text(number: int, text: str) -> bytes:
    return field(number, text.encode()) if text else b""


def _any(type_url: str, body: bytes) -> bytes:
    return _text(_ANY_TYPE_URL, type_url) + field(_ANY_VALUE, body)


def _ttl(seconds: int) -> bytes:
    return field(_RESOURCE_TTL, varint(_DURATION_SECONDS << 3) + varint(seconds)) if seconds else b""


def named(type_url: str, name: str, version: str, body: bytes | None, ttl_s: int = 0) -> bytes:
    """`Resource`; without a body it is a heartbeat, which prolongs the life of what the client has."""
    content = b"" if body is None else field(_RESOURCE_ANY, _any(type_url, body))
    return _text(_RESOURCE_VERSION, version) + content + _text(_RESOURCE_NAME, name) + _ttl(ttl_s)


def delta_element(type_url: str, name: str, version: str, body: bytes | None, ttl_s: int = 0) -> bytes:
    return field(_DELTA_RESOURCES, named(type_url, name, version, body, ttl_s))


def delta_unresolved(name: str) -> bytes:
    """The answer to a virtual host that no route configuration has: its name and alias, and no content."""
    return field(_DELTA_RESOURCES, _text(_RESOURCE_NAME, name) + _text(_RESOURCE_ALIASES, name))


def sotw_element(type_url: str, body: bytes) -> bytes:
    return field(_SOTW_RESOURCES, _any(type_url, body))


def sotw_element_with_ttl(type_url: str, name: str, version: str, body: bytes | None, ttl_s: int) -> bytes:
    wrapped = named(type_url, name, version, body, ttl_s)
    return field(_SOTW_RESOURCES, _any(RESOURCE_TYPE, wrapped))


def delta_response(type_url: str, nonce: str, elements: Iterable[bytes], removed: Iterable[str]) -> bytes:
    return b"".join(
        (
            *elements,
            _text(_DELTA_TYPE_URL, type_url),
            _text(_DELTA_NONCE, nonce),
            *(field(_DELTA_REMOVED, name.encode()) for name in removed),
        )
    )


def sotw_response(type_url: str, nonce: str, version: str, elements: Iterable[bytes]) -> bytes:
    return b"".join(
        (_text(_SOTW_VERSION, version), *elements, _text(_SOTW_TYPE_URL, type_url), _text(_SOTW_NONCE, nonce))
    )
