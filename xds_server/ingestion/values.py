"""Values that authors write into routes, checked before Envoy sees them: what passes here, Envoy takes.

Every check either returns the value in its normal form or raises `Refusal`, which says the field and the way out.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import re2

from xds_server.ingestion.hostnames import valid

MAX_REGEX_LENGTH: Final = 1024
MAX_REGEX_PROGRAM: Final = 1000
"""The limit that the bootstrap sets as `re2.max_program_size.error_level`."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}\Z")
_FIELD_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]{0,4096}\Z")
_PATH: Final = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+\Z")
_PATH_TRICK: Final = re.compile(r"//|/\.{1,2}(?:/|\Z)|%2[fF]|%5[cC]|%00")
_DURATION: Final = re.compile(r"(?:[0-9]{1,5}(?:h|m|s|ms)){1,4}\Z")
_DURATION_PART: Final = re.compile(r"([0-9]+)(ms|h|m|s)")
_UNIT_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_ORIGIN: Final = re.compile(r"(?:\*|https?://(?:\*|(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)(?::[0-9]{1,5})?)\Z")
_COOKIE_PATH: Final = re.compile(r"/[!-:<-~]{0,1023}\Z")
_UNCHANGEABLE: Final = {
    "host": "use urlRewrite.hostname",
    "content-length": "the proxy keeps it true to the body",
    "transfer-encoding": "the proxy frames messages itself",
}


class Refusal(Exception):  # not an error of ours: an outcome that a condition tells
    """A rule asks for what cannot be done; `reason` and the message are those of a condition."""

    def __init__(self, message: str, reason: str = "UnsupportedValue") -> None:
        super().__init__(message)
        self.reason = reason


def header_name(field: str, name: str) -> str:
    """A token of RFC 9110, in lower case."""
    if not _TOKEN.match(name):
        raise Refusal(f"{field}: {shown(name)} is not a header name")
    return name.lower()


def changeable_header_name(field: str, name: str) -> str:
    """A header that a modifier may change: not the host, which Envoy guards, nor what frames a message (S7)."""
    lower = header_name(field, name)
    if reason := _UNCHANGEABLE.get(lower):
        raise Refusal(f"{field}: header {lower} is not changed by modifiers: {reason}")
    return lower


def header_value(field: str, value: str) -> str:
    if not _FIELD_VALUE.match(value):
        raise Refusal(f"{field}: {shown(value)} holds control characters or is longer than 4096")
    return value


def path(field: str, value: str) -> str:
    """A path as Envoy sees it after normalisation; any other would never match."""
    if not value.startswith("/") or len(value) > MAX_REGEX_LENGTH:
        raise Refusal(f"{field}: {shown(value)} must begin with / and be no longer than {MAX_REGEX_LENGTH}")
    if not _PATH.match(value) or _PATH_TRICK.search(value):
        raise Refusal(f"{field}: {shown(value)} holds //, a dot segment, an encoded slash or a character no path has")
    return value


def prefix(field: str, value: str) -> str:
    """A path prefix without its final slash: "when specified, a trailing `/` is ignored"."""
    return path(field, value).rstrip("/") or "/"


def replacement(field: str, value: str) -> str:
    """A path to put in place of another; it may be empty, and a missing first slash is understood."""
    if value and not value.startswith("/"):
        value = "/" + value
    if len(value) > MAX_REGEX_LENGTH or (value and not _PATH.match(value)):
        raise Refusal(f"{field}: {shown(value)} holds a character that no path has, or is too long")
    return value


def regex(field: str, pattern: str) -> str:
    """A pattern that Envoy compiles: RE2, within the program size that it allows."""
    if problem := regex_problem(pattern):
        raise Refusal(f"{field}: {shown(pattern)} {problem}")
    return pattern


@lru_cache(maxsize=4096)
def regex_problem(pattern: str) -> str:
    """What keeps a pattern from Envoy; it is compiled here, and never run."""
    if not 0 < len(pattern) <= MAX_REGEX_LENGTH:
        return f"must have 1 to {MAX_REGEX_LENGTH} characters"
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # as Envoy does: its regular expressions are of bytes
    try:
        compiled = re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        detail = error.args[0] if error.args else ""
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        return f"is not a regular expression of RE2: {shown(text)}"
    if compiled.programsize > MAX_REGEX_PROGRAM:
        return f"is too large a regular expression: {compiled.programsize} steps, {MAX_REGEX_PROGRAM} are allowed"
    return ""


@lru_cache(maxsize=4096)
def literal_prefix(pattern: str) -> int:
    """How many bytes are the beginning of everything that a regular expression matches as a whole."""
    options = re2.Options()
    options.log_errors = False
    try:
        # In UTF-8 nothing that is matched has a byte 255, whose successor would change the bytes before it.
        low, high = re2.compile(pattern, options).possiblematchrange(MAX_REGEX_LENGTH)
    except re2.error:  # of no range, as for ".*"
        return 0
    return next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))


def duration_ms(field: str, text: str) -> int:
    """A duration of the Gateway API in milliseconds: "1h30m", "500ms", "0s"."""
    if not _DURATION.match(text):
        raise Refusal(f"{field}: {shown(text)} is not a duration; write for example 10s, 1m30s or 500ms")
    return sum(int(number) * _UNIT_MS[unit] for number, unit in _DURATION_PART.findall(text))


def precise_hostname(field: str, hostname: str) -> str:
    if not valid(hostname) or hostname.startswith("*"):
        raise Refusal(f"{field}: {shown(hostname)} is not a lower-case DNS name")
    return hostname


def origin(field: str, value: str) -> str:
    if not _ORIGIN.match(value) or len(value) > 253:
        raise Refusal(f"{field}: {shown(value)} is not an origin; write for example https://*.example.com or *")
    return value


def method(field: str, value: str) -> str:
    if not _TOKEN.match(value):
        raise Refusal(f"{field}: {shown(value)} is not a method")
    return value


def cookie_name(field: str, name: str) -> str:
    if not _TOKEN.match(name) or len(name) > 128:
        raise Refusal(f"{field}: {shown(name)} is not a cookie's name")
    return name


def cookie_path(field: str, value: str) -> str:
    if not _COOKIE_PATH.match(value):
        raise Refusal(f"{field}: {shown(value)} is not a cookie's path; it begins with / and holds no space or ;")
    return value


def shown(text: str) -> str:
    """A hostile text made fit for a message: quoted, escaped and short."""
    return ascii(text if len(text) <= 64 else text[:64] + "...")
