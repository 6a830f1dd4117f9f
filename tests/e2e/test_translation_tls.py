"""What a real Envoy does with translated TLS listeners."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.pki import Authority
from tests.e2e.translated import ADDRESS, GATEWAY, OFFSET, Backend, backed, connection, prefix, serve, to
from tests.envoy_validate import World, endpoints, running
from xds_server.model.backend import Certificate
from xds_server.model.listener import Frontend, Listener, TlsTermination
from xds_server.model.refs import ClusterRef, HostRef, ListenerRef, ObjectRef, RouteRef, TableRef
from xds_server.model.route import Forward, TlsRoute, WeightedBackend
from xds_server.translation.settings import TranslationSettings

CERTIFICATE = ObjectRef("Secret", "default", "web")
PASSED = ClusterRef("default", "tls", 443, "tcp")
HTTPS_BACKEND = ClusterRef("default", "tls", 443, "https")
PLAIN = ClusterRef("default", "one", 80, "tcp")
SOURCE = ObjectRef("TLSRoute", "default", "tls")
CLOSED = b""

HTTPS = {
    "any": "*",
    "second": "second-example.org",
    "wildcard": "*.wildcard.org",
    "fourth": "fourth-example.wildcard.org",
}
TLS = {"passthrough": "*.pass.org", "closed": "closed.org"}


class Seen(NamedTuple):
    status: bytes
    certificate: str = ""


class Served(NamedTuple):
    authority: Path

    def get(self, sni: str | None, host: str) -> Seen:
        """One request; the status, or nothing where the connection was closed, and the certificate's first name."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname = False
        try:
            with context.wrap_socket(connection(443), server_hostname=sni) as client:
                names = dict(client.getpeercert() or {}).get("subjectAltName", ())
                client.sendall(f"GET /shop HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
                return Seen(client.recv(12)[9:], str(names[0][1]))
        except (ConnectionResetError, ssl.SSLEOFError):
            return Seen(CLOSED)


@pytest.fixture(scope="module")
def served(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority(directory / "ca.pem")
    own = directory / "backend.pem"
    own.write_bytes(b"".join(authority.issue("own.pass.org")))
    with ExitStack() as stack:
        one, two, tls = (stack.enter_context(backend.serving()) for backend in backends(own))
        world = World(TranslationSettings(port_offset=OFFSET))
        listeners(world, authority)
        backed(world, one, two)
        for cluster in (PASSED, HTTPS_BACKEND):
            world.put(endpoints(cluster, ("127.0.0.1", tls.server_port)))
        world.put(endpoints(PLAIN, ("127.0.0.1", one.server_port)))
        serve(world, table("*"), "*")
        serve(world, table("*"), "example.org", prefix(0, "/shop", to(one)))
        serve(world, table("*"), "tls.example.org", prefix(4, "/shop", Forward((WeightedBackend(HTTPS_BACKEND),))))
        serve(world, table("second-example.org"), "second-example.org", prefix(1, "/shop", to(two)))
        serve(world, table("*.wildcard.org"), "*.wildcard.org", prefix(2, "/shop", to(one)))
        serve(world, table("fourth-example.wildcard.org"), "fourth-example.wildcard.org", prefix(3, "/shop", to(two)))
        stack.enter_context(running(envoy, world.commit().resources, directory))
        yield Served(directory / "ca.pem")


def backends(own: Path) -> Iterator[Backend]:
    yield Backend("one")
    yield Backend("two")
    tls = Backend("tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    yield tls


def table(hostname: str) -> TableRef:
    return TableRef(GATEWAY, 443, hostname)


def listeners(world: World, authority: Authority) -> None:
    world.put(Frontend(GATEWAY, (ADDRESS,)))
    world.put(Certificate(CERTIFICATE, *authority.issue("web.example.org", "*.example.org")))
    termination = TlsTermination((CERTIFICATE,))
    for section, hostname in HTTPS.items():
        others = tuple(other for other in HTTPS.values() if other != hostname)
        world.put(Listener(ListenerRef(GATEWAY, section), GATEWAY, 443, "HTTPS", hostname, termination, others))
    for section, hostname in TLS.items():
        world.put(Listener(ListenerRef(GATEWAY, section), GATEWAY, 443, "TLS", hostname))
    world.put(Listener(ListenerRef(GATEWAY, "ended"), GATEWAY, 443, "TLS", "ended.org", termination))
    ref = RouteRef(SOURCE, 0, 0)
    world.put(
        TlsRoute(HostRef(table("*.pass.org"), "own.pass.org"), ref, (WeightedBackend(PASSED),)),
        TlsRoute(HostRef(table("*.pass.org"), "half.pass.org"), ref, (WeightedBackend(PASSED), WeightedBackend(None))),
        TlsRoute(HostRef(table("*.pass.org"), "none.pass.org"), ref, (WeightedBackend(None),)),
        TlsRoute(HostRef(table("ended.org"), "ended.org"), ref, (WeightedBackend(PLAIN),)),
    )


@pytest.mark.parametrize(
    ("sni", "host", "status"),
    [
        ("example.org", "example.org", b"200"),
        ("example.org", "second-example.org", b"421"),
        ("example.org", "unknown-example.org", b"404"),
        ("second-example.org", "second-example.org", b"200"),
        ("second-example.org", "example.org", b"421"),
        ("second-example.org", "unknown-example.org", b"421"),
        ("third-example.wildcard.org", "third-example.wildcard.org", b"200"),
        ("third-example.wildcard.org", "fith-example.wildcard.org", b"200"),
        ("third-example.wildcard.org", "fourth-example.wildcard.org", b"421"),
        ("third-example.wildcard.org", "second-example.org", b"421"),
        ("third-example.wildcard.org", "unknown-example.org", b"421"),
        ("fourth-example.wildcard.org", "fourth-example.wildcard.org", b"200"),
        ("fourth-example.wildcard.org", "fith-example.wildcard.org", b"421"),
        ("unknown-example.org", "example.org", b"200"),
        ("unknown-example.org", "unknown-example.org", b"404"),
        ("SECOND-example.ORG", "Second-Example.org:443", b"200"),
        (None, "example.org", b"200"),
        (None, "second-example.org", b"421"),
    ],
)
def test_a_request_for_another_listeners_host_is_misdirected(
    served: Served, sni: str | None, host: str, status: bytes
) -> None:
    """S8, W11: no connection reaches the routes of a host that it was not made for, whatever the Host header says."""
    assert Seen(status, "web.example.org") == served.get(sni, host)


def test_bytes_pass_to_the_backend_that_ends_tls(served: Served) -> None:
    """W12: the client sees the backend's own certificate."""
    assert Seen(b"200", "own.pass.org") == served.get("own.pass.org", "own.pass.org")


def test_a_terminated_route_carries_plain_bytes(served: Served) -> None:
    """TLS ends here and HTTP is nobody's business: any Host header passes."""
    assert Seen(b"200", "web.example.org") == served.get("ended.org", "whatever")


def test_a_backend_may_want_tls_itself(served: Served) -> None:
    """`backend-protocol: HTTPS`: TLS ends here and begins anew, whoever signed the backend's certificate."""
    assert Seen(b"200", "web.example.org") == served.get("tls.example.org", "tls.example.org")


@pytest.mark.parametrize("sni", ["none.pass.org", "other.pass.org", "closed.org"])
def test_a_connection_that_nobody_takes_is_closed(served: Served, sni: str) -> None:
    """A route without a backend, or a TLS listener without a route, leaves nothing to a wider listener."""
    assert Seen(CLOSED) == served.get(sni, "example.org")


def test_an_unresolved_share_of_connections_is_closed(served: Served) -> None:
    """Half of the weight is half of the connections."""
    answers = Counter(served.get("half.pass.org", "half.pass.org").status for _ in range(60))

    assert {b"200", CLOSED} == set(answers)
    assert 10 < answers[CLOSED] < 50
