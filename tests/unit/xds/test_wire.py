"""Our encoding, read by protobuf."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2 as discovery
from hypothesis import given
from hypothesis import strategies as st

from xds_server.xds import wire

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
bodies = st.binary(max_size=300)


@given(
    st.lists(st.tuples(texts, texts, bodies), max_size=5), st.lists(texts, max_size=5), texts, texts, st.integers(0, 9)
)
def test_a_delta_response_is_what_protobuf_reads(
    resources: list[tuple[str, str, bytes]], removed: list[str], type_url: str, nonce: str, ttl_s: int
) -> None:
    """Every field arrives where the message has it."""
    elements = [wire.delta_element(type_url, name, version, body, ttl_s) for name, version, body in resources]

    read = discovery.DeltaDiscoveryResponse.FromString(wire.delta_response(type_url, nonce, elements, removed))

    assert (type_url, nonce, removed) == (read.type_url, read.nonce, list(read.removed_resources))
    assert resources == [(r.name, r.version, r.resource.value) for r in read.resources]
    assert [(type_url, ttl_s)] * len(resources) == [(r.resource.type_url, r.ttl.seconds) for r in read.resources]


@given(st.lists(bodies, max_size=5), texts, texts, texts)
def test_a_state_of_the_world_is_what_protobuf_reads(
    bodies: list[bytes], type_url: str, nonce: str, version: str
) -> None:
    """As for delta."""
    elements = [wire.sotw_element(type_url, body) for body in bodies]

    read = discovery.DiscoveryResponse.FromString(wire.sotw_response(type_url, nonce, version, elements))

    assert (version, type_url, nonce) == (read.version_info, read.type_url, read.nonce)
    assert bodies == [r.value for r in read.resources]


@given(st.integers(0, 2**63))
def test_a_number_is_a_varint(number: int) -> None:
    """Seven bits in a byte, the lowest first."""
    encoded = wire.varint(number)

    assert number == sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))
    assert all(byte & 0x80 for byte in encoded[:-1])
    assert not encoded[-1] & 0x80
