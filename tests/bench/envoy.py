"""A real Envoy as a witness: what it serves is what counts, not what it has acknowledged."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.bench.process import pin
from xds_server.proxy import launcher
from xds_server.proxy.bootstrap import BootstrapOptions, XdsSocket, bootstrap
from xds_server.proxy.process import EnvoyOptions, command, find, private_file

LONGEST_S = 120.0


class Envoy:
    """One Envoy of one worker, with the bootstrap that `tidegate up` gives it."""

    def __init__(self, xds: Path, directory: Path, node: str, core: int | None = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        admin = directory / "admin.sock"
        text = bootstrap(BootstrapOptions(node_id=node, xds=XdsSocket(xds), admin=admin))
        options = EnvoyOptions(find(None, os.environ), text, admin, directory, concurrency=1)
        config = private_file(directory / "envoy.json", text)
        with (directory / "envoy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(launcher.__file__), str(os.getpid()), *command(options, config)],
                stdout=log,
                stderr=log,
            )
        self.pid = self._process.pid
        pin(core, self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class Probe:
    """Asks one Envoy over one connection that stays open."""

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, hostname: str) -> tuple[int, bytes]:
        """Status and headers; status 0 where nobody listens yet."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._target, timeout=5)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(b"GET / HTTP/1.1\r\nhost: %s\r\n\r\n" % hostname.encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = self._socket.recv(65_536)
                if not part:
                    raise ConnectionResetError
                answer += part
        except OSError:
            self.close()
            return 0, b""
        head, _, body = answer.partition(b"\r\n\r\n")
        self._body(head.lower(), body)
        return int(head.split(b" ", 2)[1]), head

    def _body(self, head: bytes, body: bytes) -> None:
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
        while len(body) < length and self._socket is not None:
            body += self._socket.recv(65_536)

    def until_served(self, hostnames: Iterable[str]) -> float:
        """When the last of them answered 200, each asked until it did."""
        ends = time.monotonic() + LONGEST_S
        for hostname in hostnames:
            while self.ask(hostname)[0] != 200:
                if time.monotonic() > ends:
                    raise TimeoutError(f"{hostname} is not served: {self.ask(hostname)}")
                time.sleep(0.005)
        return time.monotonic()

    def until_seen(self, hostname: str, revision: str) -> tuple[float, int]:
        """When an answer first bore the revision, and how many answers until then were not 200."""
        wanted = f"x-revision: {revision}".encode()
        ends, errors = time.monotonic() + LONGEST_S, 0
        while True:
            status, head = self.ask(hostname)
            errors += status != 200
            if wanted in head:
                return time.monotonic(), errors
            if time.monotonic() > ends:
                raise TimeoutError(f"{hostname} does not change to {revision}")
