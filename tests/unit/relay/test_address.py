"""The address in the Lease: who may write the Lease may write anything there."""

from __future__ import annotations

import pytest

from xds_server.relay.address import advertised, checked


@pytest.mark.parametrize(
    ("ip", "listening", "expected"),
    [
        ("10.0.0.1", "[::]:15010", "10.0.0.1:15010"),
        ("fd00::1", "[::]:15010", "[fd00::1]:15010"),
        ("FD00:0::1", "0.0.0.0:15010", "[fd00::1]:15010"),
        ("10.0.0.1", "", ""),
        ("", "[::]:15010", ""),
        ("10.0.0.1", "unix:/state/xds.sock", ""),
    ],
)
def test_a_replica_advertises_its_pod_and_port(ip: str, listening: str, expected: str) -> None:
    """In both families, and nothing where it cannot be dialled; what is advertised is what others accept."""
    assert expected == advertised(ip, listening) == checked(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":15010",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:-1",
        "10.0.0.1:\u0661\u0665",
        "10.0.0.1:80:80",
        "[10.0.0.1]:15010",
        "fd00::1:15010",
        "[fe80::1%eth0]:15010",
        "[::]:15010",
        "0.0.0.0:15010",
        "224.0.0.1:15010",
        "[ff02::1]:15010",
        "controller.example.com:15010",
        "unix:/var/run/docker.sock",
        "dns:///10.0.0.1:15010",
        "10.0.0.1:15010\n",
        " 10.0.0.1:15010",
        "010.0.0.1:15010",
        "[fd00::1]:15010" + " " * 100,
        "1" * 100_000,
    ],
)
def test_what_is_no_address_of_a_pod_is_not_dialled(text: str) -> None:
    """Names, sockets, scopes, groups and everything that a resolver of gRPC would understand."""
    assert "" == checked(text)
