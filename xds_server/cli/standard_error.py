"""Standard error of a process in which gRPC writes there too: its records become log lines of ours."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog

from xds_server import log as logs
from xds_server.xds.handshakes import Handshakes, Refused, Said

log = structlog.get_logger("xds")


@contextmanager
def read_by(handshakes: Handshakes) -> Iterator[TextIO]:
    """What is written to descriptor 2 is read while the block runs; gives standard error itself.

    Lines that are not of gRPC pass through. Of a process that aborts they may be lost, so it says where it was.
    """
    real = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    with os.fdopen(real, "w", buffering=1) as stream:
        faulthandler.enable(file=stream)
        reader = threading.Thread(target=_follow, args=(reading, stream, handshakes), daemon=True)
        reader.start()
        try:
            yield stream
        finally:
            os.dup2(stream.fileno(), 2)  # the last writer of the pipe is gone
            reader.join(timeout=1.0)
            faulthandler.disable()


@contextmanager
def logged(handshakes: Handshakes, level: str, form: logs.LogFormat) -> Iterator[None]:
    """While the block runs, logs go to standard error itself, and what gRPC writes there is some of them."""
    with read_by(handshakes) as stream:
        logs.configure(level, form, stream)
        try:
            yield
        finally:
            logs.configure(level, form)


def _follow(reading: int, stream: TextIO, handshakes: Handshakes) -> None:
    with os.fdopen(reading, errors="replace") as lines:
        for line in lines:
            match handshakes.read(line.rstrip("\n"), time.monotonic()):
                case Refused(peer, reason, way_out, times):
                    log.warning("peer refused", peer=peer, reason=reason, way_out=way_out, times=times)
                case Said(text):
                    log.warning("grpc", said=text)
                case str(text):
                    print(text, file=stream)
