"""What gRPC writes on standard error about connections that fail: read, and said in our words.

gRPC tells nobody else of a handshake that fails, and of the peer only when it traces handshakes, by `TRACED`.
Its records begin with a letter, a date, a thread and a place of its source; some have further lines.
Must not know where lines come from, nor how what they say is told.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

TRACED: Final = {"GRPC_TRACE": "handshaker"}
"""The environment in which gRPC is to be loaded."""

AGAIN_S: Final = 600.0
"""After this what was told is told again, with how often it has happened since."""
_REMEMBERED: Final = 1024
_LONGEST: Final = 300

_RECORD: Final = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([\w./]+):(\d+)\] (.*)")
_TRACES: Final = ("handshaker.cc", "channel_trace.h", "ssl_transport_security.cc", "trace.cc", "log.cc")
_FAILED: Final = re.compile(r"Ssl handshake failed \(.*?\): (?:SSL_ERROR_\w+: )?(?:error:\w+:SSL routines:\w*:)?(.*)")
_PEER: Final = re.compile(r"endpoint_peer_address=([^,}]+)")
_PORT: Final = re.compile(r":\d+$")
_FURTHER: Final = ("=== Source Location Trace", "src/core/", " shutdown=")

# What is in gRPC's words -> why, and the way out.
_CAUSES: Final = (
    ("certificate has expired", "its certificate has expired",
     "a node's proxy renews its own: see its log for why not; an operator's is renewed by `tidegate certificates`"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is of an authority that is not trusted here",
     "a node's proxy asks for one of the new authority by itself; for others, add theirs to --xds-tls-client-ca"),
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "it shows no certificate",
     "see whose address it is: proxies and operators have certificates, and nobody else has a reason to call"),
    ("ALERT", "it does not trust our certificate",
     "give it the authority that signed ours, ca.crt beside it, and dial a name that ours is for"),
    ("HTTP_REQUEST", "it speaks no TLS", "see whose address it is: this port is for proxies and operators"),
    ("WRONG_VERSION_NUMBER", "it speaks no TLS", "see whose address it is: this port is for proxies and operators"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refused:
    """A handshake that failed, as it is to be told."""

    peer: str
    reason: str
    way_out: str
    times: int
    """Since it was last told."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something else that gRPC has to say."""

    text: str


@dataclass(slots=True)
class Handshakes:
    """Reads line by line; of each peer, each cause is told once in a while."""

    failed: int = 0
    _reason: str = ""
    _within: bool = False
    _told: dict[tuple[str, str], float] = field(default_factory=dict)
    _since: Counter[tuple[str, str]] = field(default_factory=Counter)

    def read(self, line: str, now: float) -> Refused | Said | str | None:
        """What to tell of it; a text is a line that is not of gRPC, and None is nothing."""
        record = _RECORD.match(line)
        if record is None:
            self._within = self._within and (not line or line.startswith(_FURTHER))
            return self._refused(line, now) if self._within else line
        level, place, number, text = record.groups()
        self._within = place in _TRACES
        if self._within:
            # A record of more lines has the peer in its last.
            failed = _FAILED.match(text.partition("error=UNKNOWN: ")[2])
            self._reason = failed[1] if failed else ""
            return self._refused(line, now)
        if level == "I" or not self._is_told((f"{place}:{number}", ""), now):
            return None
        return Said(f"{place}:{number}: {_printable(text)}")

    def _refused(self, line: str, now: float) -> Refused | None:
        found = _PEER.search(line) if self._reason else None
        if found is None:
            return None
        words, self._reason = self._reason, ""
        self.failed += 1
        peer = _PORT.sub("", found[1].replace("%5B", "[").replace("%5D", "]"))
        reason, way_out = next(
            ((reason, way_out) for word, reason, way_out in _CAUSES if word in words),
            (f"TLS fails: {_printable(words)}", "see whose address it is, and what it speaks"),
        )
        key = peer, reason
        times = self._since[key] + 1
        if not self._is_told(key, now):
            return None
        return Refused(peer, reason, way_out, times)

    def _is_told(self, key: tuple[str, str], now: float) -> bool:
        """Whether it is time to tell it; what is not told is counted."""
        if now - self._told.get(key, -AGAIN_S) < AGAIN_S:
            self._since[key] += 1
            return False
        self._told.pop(key, None)
        self._told[key] = now
        self._since.pop(key, None)
        if len(self._told) > _REMEMBERED:
            oldest = next(iter(self._told))
            del self._told[oldest]
            self._since.pop(oldest, None)
        return True


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST]
