"""What gRPC writes of handshakes that fail, as the release that is pinned writes it."""

from __future__ import annotations

import pytest

from xds_server.xds.handshakes import AGAIN_S, Handshakes, Refused, Said

TRACE = "1127 16:28:49.942622   28680 handshaker.cc:155] CallNextHandshakerLocked: error="
ARGUMENTS = (
    " shutdown=false index=2, args={endpoint=0x7f, args={grpc.internal.endpoint_local_address=ipv4:127.0.0.1:42229, "
    "grpc.internal.endpoint_peer_address={peer}, grpc.resource_quota=0x55}, read_buffer.Length()=0, exit_early=0}"
)
EXPIRED = "1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired"
STRANGER = "1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate"
NOBODY = "100000c0:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid context"
DISTRUST = "10000418:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA: Invalid context"
PLAIN = "1000009c:SSL routines:OPENSSL_internal:HTTP_REQUEST: Invalid context"
OTHER = "10000000:SSL routines:OPENSSL_internal:SOMETHING_NEW: \x1b[31m"


def failure(words: str, peer: str = "ipv4:192.0.2.1:40000") -> list[str]:
    return [
        "I1127 16:28:49.942500   28680 ssl_transport_security.cc:2563] Handshake failed with error SSL_ERROR_SSL: ...",
        f"I{TRACE}UNKNOWN: Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:{words}: OK",
        "=== Source Location Trace: ===",
        "src/core/util/status_helper.cc:68",
        ARGUMENTS.replace("{peer}", peer),
        "I1127 16:28:49.942712   28680 channel_trace.h:396] handshake manager 0x7f: Failed with error: UNKNOWN: Ssl",
        "=== Source Location Trace: ===",
        "src/core/util/status_helper.cc:68",
        "",
    ]


def read(handshakes: Handshakes, lines: list[str], now: float = 0.0) -> list[Refused | Said | str]:
    return [found for line in lines if (found := handshakes.read(line, now)) is not None]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (EXPIRED, "its certificate has expired"),
        (STRANGER, "its certificate is of an authority that is not trusted here"),
        (NOBODY, "it shows no certificate"),
        (DISTRUST, "it does not trust our certificate"),
        (PLAIN, "it speaks no TLS"),
        (OTHER, "TLS fails: SOMETHING_NEW:  [31m: OK"),
    ],
)
def test_a_failure_is_one_thing_to_tell(words: str, reason: str) -> None:
    """Of all that gRPC writes: who, why and the way out."""
    [told] = read(Handshakes(), failure(words))

    assert isinstance(told, Refused)
    assert ("ipv4:192.0.2.1", reason, 1, True) == (told.peer, told.reason, told.times, bool(told.way_out))


def test_each_cause_of_a_peer_is_told_once_in_a_while() -> None:
    """The next time with how often it has been since; another cause, and another peer, at once."""
    handshakes = Handshakes()
    for now, expected in ((0.0, 1), (1.0, 0), (2.0, 0)):
        assert expected == len(read(handshakes, failure(EXPIRED), now))
    assert 1 == len(read(handshakes, failure(STRANGER), 3.0))
    assert 1 == len(read(handshakes, failure(EXPIRED, "ipv6:%5B2001:db8::1%5D:40000"), 3.0))
    [told] = read(handshakes, failure(EXPIRED, "ipv4:192.0.2.1:50000"), AGAIN_S)

    assert isinstance(told, Refused)
    assert (3, 6) == (told.times, handshakes.failed)


def test_a_handshake_that_succeeds_is_nothing_to_tell() -> None:
    """Nor one that the peer ends before it is done, as probes of a port do."""
    lines = [
        f"I{TRACE}OK{ARGUMENTS.replace('{peer}', 'ipv4:192.0.2.1:1')}",
        f"I{TRACE}UNAVAILABLE: Handshake read failed (Socket closed)",
        "=== Source Location Trace: ===",
        ARGUMENTS.replace("{peer}", "ipv4:192.0.2.1:1"),
    ]

    assert [] == read(Handshakes(), lines)


def test_what_is_not_of_grpc_passes() -> None:
    """A traceback in between stays as it is, also right after lines of gRPC."""
    lines = ["Traceback (most recent call last):", "", "  File x", "ValueError: y"]

    assert lines == read(Handshakes(), lines)
    assert lines == read(Handshakes(), [*failure(EXPIRED), *lines])[1:]


def test_other_words_of_grpc_are_told_once_a_place() -> None:
    """Warnings and errors; what it says for information is left out."""
    handshakes = Handshakes()
    said = "E1127 16:28:03.352550   27994 server.cc:12] out of descriptors"

    assert [Said("server.cc:12: out of descriptors")] == read(handshakes, [said, said, said.replace("E", "I", 1)])


def test_what_is_remembered_is_bounded() -> None:
    """Whoever calls from many addresses fills no memory."""
    handshakes = Handshakes()
    for number in range(3000):
        read(handshakes, failure(EXPIRED, f"ipv4:10.0.{number // 250}.{number % 250}:1"))

    assert len(handshakes._told) <= 1024
