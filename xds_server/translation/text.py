"""Text of objects on its way into Envoy's fields.

It is checked against what Envoy would refuse, and escaped where Envoy would read it.
Literals never become patterns, patterns are RE2, and `%` never starts a command of Envoy's formatter (S4, S5).
Everything here raises a ValueError whose text can stand in a condition.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import re2

from xds_server.translation.envoy import RegexMatchAndSubstitute, RegexMatcher

MAX_REGEX_PROGRAM_SIZE: Final = 1000
"""Envoy refuses larger programs by `re2.max_program_size.error_level`, which our bootstrap sets to this."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST: Final = 16384
_REFERENCE: Final = re.compile(r"\\(.?)", re.DOTALL)
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")


def header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is no header name")
    return name


def header_value(value: str) -> str:
    if _FORBIDDEN.search(value):
        raise ValueError("a header value has a control character; remove it")
    if len(value.encode()) > _LONGEST:
        raise ValueError(f"a header value is longer than {_LONGEST} bytes")
    return value


def formatted(value: str) -> str:
    """A header value that Envoy's formatter gives back unchanged."""
    return header_value(value).replace("%", "%%")


def literal(text: str) -> str:
    """A pattern that matches just this text."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def regex(pattern: str) -> RegexMatcher:
    _compiled(pattern)
    return RegexMatcher(regex=pattern)


def substitution(pattern: str, replacement: str) -> RegexMatchAndSubstitute:
    r"""`replacement` refers to groups as \1; a backslash of its own is doubled."""
    groups = _compiled(pattern).groups
    for reference in _REFERENCE.findall(header_value(replacement)):
        if reference != "\\" and not (reference.isascii() and reference.isdigit()):
            raise ValueError(f"{replacement[:64]!r}: a backslash refers to a group (\\1) or is doubled")
        if reference != "\\" and int(reference) > groups:
            raise ValueError(f"{replacement[:64]!r} refers to group {reference}, and the pattern has {groups}")
    return RegexMatchAndSubstitute(pattern=RegexMatcher(regex=pattern), substitution=replacement)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    if not pattern:
        raise ValueError("a regular expression is empty")
    try:
        compiled = re2.compile(pattern.encode(), _options())
    except re2.error as fault:
        raise ValueError(f"{pattern[:64]!r} is no RE2 expression: {_reason(fault)}") from None
    if compiled.programsize > MAX_REGEX_PROGRAM_SIZE:
        raise ValueError(
            f"{pattern[:64]!r} compiles to {compiled.programsize} instructions; "
            f"Envoy takes {MAX_REGEX_PROGRAM_SIZE}: simplify it"
        )
    return compiled


def _reason(fault: Any) -> str:
    reason = fault.args[0] if fault.args else fault
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _options() -> Any:
    r"""Those of Envoy, whose regular expressions are of bytes: `\x{100}` is an error, and `.` one byte."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    return options
