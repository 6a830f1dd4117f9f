"""A process with sockets, in a cgroup and a network namespace: reads what it shall do, a line each, and answers.

    python -m tests.bpf.actor CGROUP NETNS

Servers tell each client the address and port at which they were reached.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import socket
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

CLONE_NEWNET: Final = 0x40000000
SO_NETNS_COOKIE: Final = 71
SO_MARK: Final = 36
IP_BIND_ADDRESS_NO_PORT: Final = 24
TRANSPARENT: Final = {socket.AF_INET: (socket.IPPROTO_IP, 19), socket.AF_INET6: (socket.IPPROTO_IPV6, 75)}
KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
TIMEOUT_S: Final = 20.0


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def told(name: tuple[Any, ...]) -> list[Any]:
    """The address and port of a socket's name."""
    return [name[0], name[1]]


def said(answer: bytes) -> list[Any]:
    address, _, port = answer.decode().rpartition(" ")
    return [address, int(port)]


class Servers:
    """TCP and UDP at any address, one thread for all."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self.reached: Counter[str] = Counter()
        threading.Thread(target=self._serve, daemon=True).start()

    def open(self, kind: str, address: str, port: int) -> None:
        server = socket.socket(family(address), KINDS[kind])
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(*TRANSPARENT[server.family], 1)
        server.bind((address, port))
        if kind == "tcp":
            server.listen(4096)
        self._sockets[server.fileno()] = server
        self._poll.register(server, select.EPOLLIN)

    def _serve(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                self._answer(self._sockets[fd])

    def _answer(self, server: socket.socket) -> None:
        if server.type == socket.SOCK_DGRAM:
            _, client = server.recvfrom(100)
            name = server.getsockname()
            server.sendto(f"{name[0]} {name[1]}".encode(), client)
        else:
            connection, _ = server.accept()
            with connection:
                name = connection.getsockname()
                connection.sendall(f"{name[0]} {name[1]}".encode())
        self.reached[f"{name[0]} {name[1]}"] += 1


class Actor:
    """Each method is something that a test asks for."""

    def __init__(self) -> None:
        self._servers = Servers()
        self._mute: list[socket.socket] = []
        self._load: list[threading.Thread] = []
        self._stop = threading.Event()
        self._outcomes: Counter[str] = Counter()

    def netns(self) -> int:
        with socket.socket() as any_socket:
            return int.from_bytes(any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)

    def serve(self, kind: str, *endpoints: list[Any]) -> None:
        for address, port in endpoints:
            self._servers.open(kind, address, port)

    def listen(self, address: str, port: int) -> None:
        """And say nothing: whoever connects closes first."""
        mute = socket.socket(family(address), socket.SOCK_STREAM)
        mute.setsockopt(*TRANSPARENT[mute.family], 1)
        mute.bind((address, port))
        mute.listen(4096)
        self._mute.append(mute)

    def reached(self) -> dict[str, int]:
        """How often each server was, since this was asked for."""
        reached, self._servers.reached = self._servers.reached, Counter()
        return dict(reached)

    def connect(self, kind: str, address: str, port: int, times: int = 1) -> list[dict[str, Any]]:
        return [self._connect(kind, address, port) for _ in range(times)]

    def upstream(self, mark: int, source: str, *to: list[Any]) -> list[list[Any]]:
        """Connect as Envoy does in its client's name, to all of them at once; where from."""
        opened = []
        for address, port in to:
            client = socket.socket(family(address), socket.SOCK_STREAM)
            client.settimeout(TIMEOUT_S)
            client.setsockopt(*TRANSPARENT[client.family], 1)
            client.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((source, 0))
            client.connect((address, port))
            opened.append(client)
        names = [told(client.getsockname()) for client in opened]
        for client in opened:
            client.close()
        return names

    def _connect(self, kind: str, address: str, port: int) -> dict[str, Any]:
        with socket.socket(family(address), KINDS[kind]) as client:
            client.settimeout(TIMEOUT_S)
            try:
                client.connect((address, port))
                peer = told(client.getpeername())
                if kind == "udp":
                    client.send(b"?")
                answer, sender = client.recvfrom(100)
            except OSError as error:
                return {"error": errno.errorcode[error.errno or 0]}
            return {
                "backend": said(answer),
                "peer": peer,
                "from": told(sender) if sender else None,
                "source": told(client.getsockname()),
            }

    def send(self, *to: list[Any], times: int = 1) -> list[dict[str, Any]]:
        """Datagrams out of one socket that is not connected: to each in turn, and so all over again."""
        outcomes: list[dict[str, Any]] = []
        with socket.socket(family(to[0][0]), socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT_S)
            for address, port in [*to] * times:
                try:
                    client.sendto(b"?", (address, port))
                    answer, sender = client.recvfrom(100)
                except OSError as error:
                    outcomes.append({"error": errno.errorcode[error.errno or 0]})
                else:
                    outcomes.append({"backend": said(answer), "from": told(sender)})
        return outcomes

    def unasked(self, asked: list[Any], other: list[Any]) -> list[Any]:
        """Whose name a datagram has that `other` sends to a socket which asked somebody else."""
        with (
            socket.socket(family(asked[0]), socket.SOCK_DGRAM) as client,
            socket.socket(family(other[0]), socket.SOCK_DGRAM) as sender,
        ):
            client.settimeout(TIMEOUT_S)
            sender.setsockopt(*TRANSPARENT[sender.family], 1)
            sender.bind((other[0], other[1]))
            client.sendto(b"?", (asked[0], asked[1]))
            client.recvfrom(100)
            host = "::1" if client.family == socket.AF_INET6 else "127.0.0.1"
            sender.sendto(b"!", (host, client.getsockname()[1]))
            return told(client.recvfrom(100)[1])

    def again(self, first: list[Any], second: list[Any], mark: int = 0) -> dict[str, Any]:
        """One UDP socket that is connected to one address and then to another: its peer and its mark each time."""
        with socket.socket(family(first[0]), socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            peers, marks = [], []
            for address, port in (first, second):
                client.connect((address, port))
                peers.append(told(client.getpeername()))
                marks.append(client.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
        return {"peers": peers, "marks": marks}

    def dissolved(self, first: list[Any], *to: list[Any]) -> list[list[Any]]:
        """Whose name each answer has on a UDP socket that was connected, and is not any more."""
        with socket.socket(family(first[0]), socket.SOCK_DGRAM) as client:
            client.settimeout(TIMEOUT_S)
            client.connect((first[0], first[1]))
            nobody = bytes(16)  # a sockaddr of AF_UNSPEC
            if ctypes.CDLL(None, use_errno=True).connect(client.fileno(), nobody, len(nobody)):
                raise OSError(ctypes.get_errno(), "connect to nobody")
            senders = []
            for address, port in to:
                client.sendto(b"?", (address, port))
                senders.append(told(client.recvfrom(100)[1]))
            return senders

    def peers(self, kind: str, address: str, port: int, times: int) -> list[list[Any]]:
        """Of sockets that are connected at the same time, each asked when all are."""
        with ExitStack() as stack:
            clients = []
            for _ in range(times):
                clients.append(stack.enter_context(socket.socket(family(address), KINDS[kind])))
                clients[-1].connect((address, port))
            return [told(client.getpeername()) for client in clients]

    def sent(self, first: list[Any], *to: list[Any]) -> list[list[Any]]:
        """Who the peer of a connected UDP socket is after a datagram to each."""
        with socket.socket(family(first[0]), socket.SOCK_DGRAM) as client:
            client.connect((first[0], first[1]))
            peers = []
            for address, port in to:
                client.sendto(b"?", (address, port))
                peers.append(told(client.getpeername()))
            return peers

    def load(self, address: str, port: int, threads: int) -> None:
        """Connect and read an answer, over and over, until `loaded`."""
        self._stop.clear()
        self._outcomes.clear()
        self._load = [threading.Thread(target=self._repeat, args=(address, port)) for _ in range(threads)]
        for thread in self._load:
            thread.start()

    def _repeat(self, address: str, port: int) -> None:
        while not self._stop.is_set():
            outcome = self._connect("tcp", address, port)
            self._outcomes[outcome.get("error") or "served"] += 1

    def loaded(self) -> dict[str, int]:
        """How often each outcome was, until now."""
        self._stop.set()
        for thread in self._load:
            thread.join()
        return dict(self._outcomes)

    def sources(self, address: str, port: int, times: int) -> list[str]:
        """The own address of each UDP socket once connected, which is its backend's on this machine; none sends."""
        sources = []
        for _ in range(times):
            with socket.socket(family(address), socket.SOCK_DGRAM) as client:
                client.connect((address, port))
                sources.append(client.getsockname()[0])
        return sources

    def attempt(self, address: str, port: int) -> None:
        """Begin a connection, whatever becomes of it."""
        with socket.socket(family(address), socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.connect_ex((address, port))

    def open(self, address: str, port: int) -> None:
        """A UDP socket that stays, for `say`."""
        self._open = (socket.socket(family(address), socket.SOCK_DGRAM), (address, port))
        self._open[0].settimeout(TIMEOUT_S)

    def say(self) -> list[Any]:
        """Which backend answers on the open socket."""
        client, to = self._open
        client.sendto(b"?", to)
        return said(client.recv(100))


def enter(cgroup: Path, netns: Path) -> None:
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    fd = os.open(netns, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns", str(netns))
    os.close(fd)


def act(actor: object) -> None:
    """Do what each line of standard input says: method, arguments and options; a line of output has the result."""
    for line in sys.stdin:
        name, arguments, options = json.loads(line)
        sys.stdout.write(json.dumps(getattr(actor, name)(*arguments, **options)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    enter(Path(sys.argv[1]), Path(sys.argv[2]))
    act(Actor())
