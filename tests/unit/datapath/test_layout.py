"""Entries <-> bytes, as the kernel has them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.kernel.layout import (
    BACKENDS,
    EVENT,
    KINDS,
    PROXIED_AS,
    SERVICES,
    SETTINGS,
    STRUCTS,
    Address,
    Backend,
    BackendKey,
    Direction,
    Flow,
    Reason,
    Service,
    ServiceFlag,
    ServiceKey,
    Settings,
    packed_address,
    unpacked_address,
)

NO_MAPPED = st.ip_addresses().filter(lambda address: not (address.version == 6 and address.ipv4_mapped))
NO_ZERO = NO_MAPPED.filter(lambda address: address != IPv6Address("::"))
PORTS = st.integers(0, 0xFFFF)


def test_an_ipv4_address_is_mapped() -> None:
    """One map serves both families."""
    assert bytes.fromhex("00000000000000000000ffff0a600001") == packed_address(ip_address("10.96.0.1"))


def test_no_address_is_address_zero() -> None:
    """Every address of the node; the IPv4 address of zeros is another."""
    assert bytes(16) == packed_address(None)
    assert unpacked_address(bytes(16)) is None
    assert packed_address(IPv4Address("0.0.0.0")) != bytes(16)


@given(NO_ZERO)
def test_an_address_comes_back(address: Address) -> None:
    """As what it was, in either family."""
    assert address == unpacked_address(packed_address(address))


def test_a_key_is_in_network_order_and_has_no_garbage() -> None:
    """The kernel compares keys bytewise, padding and all."""
    octets = SERVICES.key.pack(ServiceKey(ip_address("10.96.0.1"), 0x1234, 6))

    assert bytes.fromhex("00000000000000000000ffff0a60000112340600") == octets


@given(NO_ZERO, NO_ZERO, PORTS, PORTS, st.integers(0, 255))
def test_a_flow_comes_back(source: Address, destination: Address, from_port: int, to_port: int, protocol: int) -> None:
    """Both ends, in either family."""
    flow = Flow(source, destination, from_port, to_port, protocol)

    assert flow == PROXIED_AS.key.unpack(PROXIED_AS.key.pack(flow))


def test_values_come_back() -> None:
    """Each as it was written."""
    service = Service(int(ServiceFlag.PROXY | ServiceFlag.EXTERNAL), 1, 2, 3, 4)
    settings = Settings(IPv4Address("192.0.2.1"), None, 1 << 40, 1 << 50)

    assert service == SERVICES.value.unpack(SERVICES.value.pack(service))
    assert settings == SETTINGS.value.unpack(SETTINGS.value.pack(settings))
    assert Backend(IPv6Address("fd00::1"), 80) == BACKENDS.value.unpack(
        BACKENDS.value.pack(Backend(IPv6Address("fd00::1"), 80))
    )
    assert BackendKey(1, 2, 3) == BACKENDS.key.unpack(BACKENDS.key.pack(BackendKey(1, 2, 3)))


@pytest.mark.parametrize("port", [-1, 0x10000])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    """Rather than cut to one."""
    with pytest.raises(OverflowError):
        SERVICES.key.pack(ServiceKey(None, port, 6))


def test_an_event_is_read_whole() -> None:
    """Its flow is spread out, and what is behind it in the ring is not looked at."""
    octets = (
        (7).to_bytes(8, "little")
        + packed_address(ip_address("10.1.0.5"))
        + packed_address(ip_address("fd00::1"))
        + bytes.fromhex("1234005006000000")
        + (3).to_bytes(4, "little")
        + (9).to_bytes(4, "little")
        + bytes([Reason.DROP_SPOOFED, Direction.FROM_WORKLOAD])
        + bytes(6)
    )
    event = EVENT.unpack(octets + b"behind")

    assert EVENT.size == len(octets)
    assert (7, ip_address("10.1.0.5"), ip_address("fd00::1"), 0x1234, 80, 6, 3, 9) == event[:8]
    assert (Reason.DROP_SPOOFED, Direction.FROM_WORKLOAD) == (event.reason, event.direction)


def test_every_field_has_a_kind() -> None:
    """The table of structures and that of kinds fit each other."""
    kinds = {kind for fields in STRUCTS.values() for _, kind in (field.split(":") for field in fields.split())}

    assert set() == kinds - KINDS.keys()


def test_names_of_verdicts_say_what_becomes_of_a_packet() -> None:
    """Who reads a counter needs no table."""
    verbs = {
        *"PASS STEERED DROP REFUSED".split(),  # of packets
        *"RECORDED BALANCED TRANSLATED ANSWERED MASQUERADED RETURNED NEIGHBOUR".split(),
        *"SELECTED LISTENER LISTENERS NAMED".split(),  # of sockets
    }

    assert set() == {reason.name.partition("_")[0] for reason in Reason} - verbs
    assert list(range(len(Reason))) == [reason.value for reason in Reason]
