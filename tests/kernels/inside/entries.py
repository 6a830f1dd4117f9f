"""Many entries of maps at a time, and one by one where the kernel has no more."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Final, NamedTuple

from datapath.kernel import layout
from datapath.kernel.layout import Address, Backend, BackendKey, Codec, MapType, NodeAddress
from datapath.kernel.libbpf import BpfError
from datapath.kernel.maps import NO_PREALLOC, created
from tests.kernels.inside.rig import Rig

_HASHED: Final = 5_000
"""More than one system call takes."""
_PREFIXES: Final = 200


class Prefix(NamedTuple):
    bits: int
    address: Address


class _PrefixCodec(Codec[Prefix]):
    """Of a longest-prefix trie; the maps that are shipped have none yet."""

    def __init__(self) -> None:
        super().__init__("address", Prefix)

    @property
    def size(self) -> int:
        return 4 + super().size

    def pack(self, entry: Prefix) -> bytes:
        return entry.bits.to_bytes(4, "little") + layout.packed_address(entry.address)

    def unpack(self, octets: bytes) -> Prefix:
        address = layout.unpacked_address(octets[4:])
        assert address is not None
        return Prefix(int.from_bytes(octets[:4], "little"), address)


def a_hash_takes_and_gives_many_entries(rig: Rig) -> None:
    """Thousands of backends are written, read and deleted, in batches on every kernel."""
    entries = {BackendKey(1, 1, slot): Backend(ip_address(0x0A000000 + slot), 80) for slot in range(_HASHED)}
    with created(layout.BACKENDS, MapType.HASH, _HASHED, NO_PREALLOC) as backends:
        backends.put_all(entries.items())
        found = dict(backends.items())
        batches = backends._batches
        backends.delete_all(entries)

        assert entries == found
        assert batches
        assert {} == dict(backends.items())


def a_trie_takes_many_entries_on_every_kernel(rig: Rig) -> None:
    """Prefixes are written one by one where the kernel has no batches for them (5.10), in batches elsewhere."""
    spec = layout.MapSpec("prefixes", _PrefixCodec(), Codec("node_address", NodeAddress))
    entries = {Prefix(128, ip_address((0xFD << 120) + number)): NodeAddress(number) for number in range(1, _PREFIXES)}
    with created(spec, MapType.LPM_TRIE, _PREFIXES, NO_PREALLOC) as trie:
        trie.put_all(entries.items())
        rig.found["batches of prefixes"] = trie._batches

        assert entries == dict(trie.items())


def a_map_that_is_full_says_so(rig: Rig) -> None:
    """What does not fit is refused by its map's name, and is not taken for a missing operation."""
    with created(layout.BACKENDS, MapType.HASH, 4, NO_PREALLOC) as backends:
        entries = [(BackendKey(1, 1, slot), Backend(ip_address("fd00::1"), 80)) for slot in range(5)]
        refused: BpfError | None = None
        try:
            backends.put_all(entries)
        except BpfError as error:
            refused = error

        assert refused is not None
        assert (errno.E2BIG, "backends") == (refused.errno, refused.name)
        assert dict(entries[:4]) == dict(backends.items())
