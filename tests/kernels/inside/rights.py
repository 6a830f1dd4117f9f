"""The capabilities of this thread, by the kernel's own names."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

CAPABILITIES: Final = {
    "BPF": 39,
    "NET_ADMIN": 12,
    "PERFMON": 38,
    "SYS_RESOURCE": 24,
    "DAC_OVERRIDE": 1,
    "SYS_ADMIN": 21,
}
"""Those that may matter, the last one for nearly everything."""
_VERSION_3: Final = 0x20080522
_LOCKED: Final = 8 << 20
"""Bytes that a service may lock in memory: what Linux and container runtimes allow where nobody says more."""
_FAILED: Final = 200


@contextmanager
def only(*names: str) -> Iterator[None]:
    """Nothing more than these; the rest comes back afterwards."""
    before = held()
    hold(sum(1 << CAPABILITIES[name] for name in names))
    try:
        yield
    finally:
        hold(before)


def refused(attempt: Callable[[], object], *names: str) -> int:
    """With what an attempt fails that has these capabilities alone; 0 if it does not."""
    with only(*names):
        try:
            attempt()
        except Exception as error:
            # Netlink's errors have it under another name.
            number = getattr(error, "errno", None) or getattr(error, "code", None)
            if not isinstance(number, int):
                raise
            return number
    return 0


def refused_apart(attempt: Callable[[], object], *names: str) -> int:
    """The same in a process of its own, which may lock as little memory as others."""
    child = os.fork()
    if child == 0:
        os._exit(_apart(attempt, names))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _apart(attempt: Callable[[], object], names: tuple[str, ...]) -> int:
    """Ends without a word, but for what nobody has foreseen."""
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (_LOCKED, _LOCKED))
        return min(refused(attempt, *names), _FAILED)
    except BaseException as error:  # noqa: BLE001  (a child must never return into the cases)
        os.write(2, f"{error!r}\n".encode())
        return _FAILED


def held() -> int:
    """What is in effect, a bit for each."""
    octets = ctypes.create_string_buffer(24)
    _call("capget", octets)
    low, _, _, high, _, _ = struct.unpack("=6I", octets.raw)
    return int(low | high << 32)


def hold(bits: int) -> None:
    """What is permitted stays so, and can be taken back."""
    octets = ctypes.create_string_buffer(24)
    _call("capget", octets)
    _, low, low_inheritable, _, high, high_inheritable = struct.unpack("=6I", octets.raw)
    packed = struct.pack("=6I", bits & 0xFFFFFFFF, low, low_inheritable, bits >> 32, high, high_inheritable)
    _call("capset", ctypes.create_string_buffer(packed, len(packed)))


def _call(function: str, octets: ctypes.Array[ctypes.c_char]) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0), 8)
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(header, octets):
        raise OSError(ctypes.get_errno(), function)
