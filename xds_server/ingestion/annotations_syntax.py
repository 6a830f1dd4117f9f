"""The syntax of annotation values: each parser takes hostile text and returns a value, or raises ValueError.

The error is the problem in a few words and never repeats the value.
It must not know which annotation it parses.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_network
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from xds_server.ingestion.values import regex_problem

MAX_VALUE: Final = 16_384
"""Longer values are refused unread; Kubernetes allows 256 KiB for all annotations of an object."""

MAX_FIELD: Final = 4096

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HOSTNAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
)
_OBJECT_NAME: Final = _HOSTNAME
_DURATION: Final = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|μs|ms|s|m|h)")
_MILLISECONDS: Final = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_SIZE: Final = re.compile(r"([0-9]{1,12})([kKmMgG]?)")
_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*")
_ORIGIN: Final = re.compile(r"(https?)://(\*\.)?([A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")
_LONGEST_MS: Final = 10 * 365 * 86_400_000

TRUE: Final = frozenset({"true", "enabled", "1", "t"})
FALSE: Final = frozenset({"false", "disabled", "0", "f"})


class Address(NamedTuple):
    """Where a redirect goes: a URL as it stands, or with `keeps_path` only what comes before the request's own path."""

    url: str
    scheme: str
    hostname: str
    port: int | None
    keeps_path: bool


def printable(text: str) -> str:
    """The text, when it is of bearable length and has no CR, LF, NUL or other control character."""
    if len(text) > MAX_VALUE:
        raise ValueError(f"longer than {MAX_VALUE} characters")
    if _CONTROL.search(text):
        raise ValueError("contains a control character")
    return text


def boolean(text: str) -> bool:
    lower = text.strip().lower()
    if lower in TRUE:
        return True
    if lower in FALSE:
        return False
    raise ValueError("neither true nor false")


def number(text: str, low: int, high: int) -> int:
    stripped = text.strip()
    if not stripped.isascii() or not stripped.isdigit() or len(stripped) > 18:
        raise ValueError("not a whole number")
    if not low <= int(stripped) <= high:
        raise ValueError(f"not between {low} and {high}")
    return int(stripped)


def port(text: str) -> int:
    return number(text, 1, 65_535)


def weight(text: str) -> int:
    return number(text, 0, 1_000_000)


def positive_weight(text: str) -> int:
    return number(text, 1, 1_000_000)


def rate(text: str) -> int:
    return number(text, 0, 1_000_000)


def seconds(text: str) -> int:
    """A number of seconds, with or without an "s" behind it."""
    return number(text.strip().removesuffix("s"), 0, 315_360_000)


def positive_seconds_ms(text: str) -> int:
    """Seconds, at least one, in milliseconds."""
    return number(text.strip().removesuffix("s"), 1, 315_360_000) * 1000


def duration_ms(text: str) -> int:
    """A duration as Go writes it: "1m30s", "250ms", "0"."""
    stripped = text.strip()
    if stripped == "0":
        return 0
    if not _DURATION.fullmatch(stripped):
        raise ValueError("not a duration")
    total = sum(float(value) * _MILLISECONDS[unit] for value, unit in _DURATION_PART.findall(stripped))
    if total > _LONGEST_MS:
        raise ValueError("longer than ten years")
    # A duration below a millisecond must not turn into 0, which disables the timeout.
    return max(1, round(total)) if total else 0


def size(text: str) -> int:
    """A number of bytes as nginx writes it: "512", "8k", "8m", "1g"."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a size")
    value = int(match[1]) * _BYTES[match[2].lower()]
    if value > 0xFFFF_FFFF:
        raise ValueError("larger than 4 GiB")
    return value


def hostname(text: str) -> str:
    lower = text.strip().lower()
    if not _HOSTNAME.fullmatch(lower):
        raise ValueError("not a host name")
    return lower


def object_name(text: str) -> str:
    """An object as "namespace/name"."""
    parts = text.strip().split("/")
    if len(parts) != 2 or not all(_OBJECT_NAME.fullmatch(part) for part in parts):
        raise ValueError("not of the form namespace/name")
    return "/".join(parts)


def object_class(text: str) -> str:
    """A class, as in "example.com/balancer"."""
    parts = text.strip().lower().split("/")
    if len(parts) > 2 or not all(_OBJECT_NAME.fullmatch(part) for part in parts):
        raise ValueError("not a class name")
    return text.strip()


def token(text: str) -> str:
    """A header, method or cookie name: a token of RFC 9110."""
    stripped = text.strip()
    if not _TOKEN.fullmatch(stripped):
        raise ValueError("not a token of RFC 9110")
    return stripped


def header(text: str) -> str:
    """A header name in lower case."""
    return token(text).lower()


def tokens(text: str) -> tuple[str, ...]:
    return tuple(token(part) for part in text.split(",") if part.strip())


def field_value(text: str) -> str:
    """A header's value: printable, and without blanks around it."""
    if len(text) > MAX_FIELD:
        raise ValueError(f"longer than {MAX_FIELD} characters")
    return printable(text).strip()


def networks(text: str) -> tuple[str, ...]:
    """Networks or single addresses, separated by commas, in their shortest form."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("names no network")
    try:
        return tuple(str(ip_network(part, strict=False)) for part in parts)
    except ValueError:
        raise ValueError("has a part that is no network") from None


def path(text: str) -> str:
    stripped = text.strip()
    if not _PATH.fullmatch(stripped):
        raise ValueError("not an absolute path")
    return stripped


def cookie_path(text: str) -> str:
    """A path that says nothing else in a Set-Cookie header."""
    if ";" in text:
        raise ValueError("contains a semicolon")
    return path(text)


def address(text: str) -> Address:
    """A URL to redirect to; "$request_uri" at its end, the only variable that is known, keeps the request's path."""
    stripped = text.strip()
    url = stripped.removesuffix("$request_uri")
    if "$" in url:
        raise ValueError("contains a variable other than $request_uri at its end")
    if not url.isascii() or any(c in url for c in ' \\"<>^`{|}'):
        raise ValueError("contains a character that a URL may not have")
    try:
        parts = urlsplit(url)
        host, number_of_port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in {"http", "https"} or parts.username is not None:
        raise ValueError("not a URL of http or https")
    host = authority(host)
    keeps_path = url != stripped
    if keeps_path and (parts.path not in {"", "/"} or parts.query or parts.fragment):
        raise ValueError("has a path before $request_uri")
    return Address("" if keeps_path else url, parts.scheme, host, number_of_port, keeps_path)


def authority(host: str) -> str:
    """A DNS name, or an address as a URL has it."""
    if _HOSTNAME.fullmatch(host):
        return host
    try:
        return f"[{IPv6Address(host)}]"
    except ValueError:
        raise ValueError("not a URL with a host") from None


def origins(text: str) -> tuple[str, ...]:
    """Origins of CORS: "*", or schemes and hosts, of which the first label may be "*"."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts or not all(part == "*" or _ORIGIN.fullmatch(part) for part in parts):
        raise ValueError("has a part that is no origin")
    return ("*",) if "*" in parts else parts


def one_of(text: str, choices: tuple[str, ...]) -> str:
    """One of the choices, whatever its case."""
    for choice in choices:
        if text.strip().lower() == choice.lower():
            return choice
    raise ValueError(f"none of {', '.join(choices)}")


def redirect_status(text: str) -> int:
    value = number(text, 300, 399)
    if value not in {301, 302, 303, 307, 308}:
        raise ValueError("none of 301, 302, 303, 307, 308")
    return value


def regex(text: str) -> str:
    """A regular expression of RE2."""
    problem = regex_problem(printable(text))
    if problem:
        raise ValueError(problem)
    return text
