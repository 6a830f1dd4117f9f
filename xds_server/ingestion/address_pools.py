"""Pools of addresses: their ranges, whom they serve, which of them overlap, and the verdicts on them.

It must not know who asks for an address.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from xds_server.graph import Collection, Fetch, Graph, Group
from xds_server.ingestion.age import age
from xds_server.ingestion.sources import Sources
from xds_server.ingestion.values import shown
from xds_server.model.listener import Frontend
from xds_server.model.refs import ObjectRef
from xds_server.model.verdict import Condition, Verdict, VerdictRef
from xds_server.objects.meta import LabelSelector
from xds_server.objects.tidegate import AddressBlock, LoadBalancerIPPool

Address = IPv4Address | IPv6Address
Pools = Collection[ObjectRef, "Pool"]

POOL_FLAG: Final = ObjectRef("", "", "--pool")
"""Stands for the networks that the operator gave by flag; no object is called so."""

_PROBES: Final = 4096  # of a full range, so that exhaustion costs little; a sparse one needs one or two
_PREFIX: Final = {"CiliumLoadBalancerIPPool": "cilium.io/"}


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from `first` to `last`, as numbers.

    Without `edges` neither of the two is given; without `round_numbers` none that ends in .0 or .255, which some
    stacks refuse. A range of one or two addresses gives all that it has.
    """

    version: int
    first: int
    last: int
    edges: bool = True
    round_numbers: bool = True

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def usable(self) -> int:
        """How many addresses it gives, of those of pool objects."""
        return self.size if self.edges or self.size <= 2 else self.size - 2

    def gives(self, address: Address) -> bool:
        number = int(address)
        if address.version != self.version or not self.first <= number <= self.last:
            return False
        if self.size <= 2:
            return True
        if not self.edges and number in {self.first, self.last}:
            return False
        return self.round_numbers or self.version != 4 or number & 255 not in {0, 255}

    def candidates(self, ref: ObjectRef) -> Iterator[Address]:
        """Addresses in the order in which an object tries them, from a place that its name alone decides."""
        digest = blake2b("/".join(ref).encode(), digest_size=16).digest()
        start, kind = int.from_bytes(digest, "big"), IPv4Address if self.version == 4 else IPv6Address
        for step in range(min(self.size, _PROBES)):
            address = kind(self.first + (start + step) % self.size)
            if self.gives(address):
                yield address

    def __str__(self) -> str:
        kind = IPv4Address if self.version == 4 else IPv6Address
        prefix = kind(0).max_prefixlen - self.size.bit_length() + 1
        if self.size.bit_count() == 1 and self.first % self.size == 0:
            return f"{kind(self.first)}/{prefix}"
        return f"{kind(self.first)}-{kind(self.last)}"


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as it is used: `conflict` and `invalid` say why it is not, or not all of it."""

    ref: ObjectRef
    created: str
    ranges: tuple[Range, ...]
    generation: int = 0
    selector: LabelSelector | None = None
    disabled: bool = False
    conflict: str = ""
    invalid: str = ""

    @property
    def order(self) -> tuple[str, ObjectRef]:
        """The older comes first, in a conflict and where an address is looked for: another pool moves nobody."""
        return age(self.created), self.ref


def of_flag(networks: Iterable[str]) -> tuple[Pool, ...]:
    """The networks that the operator gave, as a pool for everybody."""
    ranges = (
        Range(network.version, int(network[0]), int(network[-1]), edges=False, round_numbers=False)
        for network in map(ip_network, networks)
    )
    found = tuple(ranges)
    return (Pool(POOL_FLAG, "", found),) if found else ()


def pool(ref: ObjectRef, found: LoadBalancerIPPool) -> Pool:
    """A pool by itself."""
    ranges: list[Range] = []
    problems: list[str] = []
    for position, block in enumerate(found.spec.blocks):
        try:
            ranges.append(_range(block, edges=found.spec.allow_first_last_ips == "Yes"))
        except ValueError as problem:
            problems.append(f"spec.blocks[{position}]: {problem}")
    if not found.spec.blocks:
        problems.append("spec.blocks: there are none; list a cidr, or start and stop")
    return Pool(
        ref,
        found.metadata.creation_timestamp,
        tuple(ranges),
        found.metadata.generation,
        found.spec.service_selector,
        found.spec.disabled,
        invalid="; ".join(problems[:8]),
    )


def _range(block: AddressBlock, *, edges: bool) -> Range:
    if bool(block.cidr) == bool(block.start):
        raise ValueError("give either cidr, or start and stop")
    if block.cidr:
        try:
            network = ip_network(block.cidr if "/" in block.cidr else "", strict=False)
        except ValueError:
            raise ValueError(f"{shown(block.cidr)} is no network; write it as 192.0.2.0/24") from None
        return Range(network.version, int(network[0]), int(network[-1]), edges)
    try:
        first, last = ip_address(block.start), ip_address(block.stop or block.start)
    except ValueError:
        text = f"{shown(block.start)} to {shown(block.stop)} is no range; write both as addresses"
        raise ValueError(text) from None
    if first.version != last.version:
        raise ValueError("start and stop are of two address families; use one block for each")
    if int(first) > int(last):
        raise ValueError("stop is before start; exchange them")
    return Range(first.version, int(first), int(last))


def without_conflicts(pools: Iterable[Pool]) -> Iterator[Pool]:
    """Each pool; the younger of two that overlap has a conflict, and its addresses are not used at all."""
    taken: list[tuple[int, int, int, ObjectRef]] = []
    for each in sorted(pools, key=lambda found: found.order):
        own: list[tuple[int, int, int, ObjectRef]] = []
        conflict = ""
        for found in each.ranges:
            other = _overlapped(taken, found) or _overlapped(own, found)
            if other is not None:
                where = f"{other}" if other != each.ref else "another block of its own"
                conflict = f"{found} overlaps {where}: change one of them; until then this pool is not used"
                break
            insort(own, (found.version, found.first, found.last, each.ref))
        if conflict:
            yield replace(each, conflict=conflict)
            continue
        for entry in own:
            insort(taken, entry)
        yield each


def _overlapped(taken: Sequence[tuple[int, int, int, ObjectRef]], found: Range) -> ObjectRef | None:
    """Who has an address of a range, among ranges that do not overlap each other."""
    at = bisect_left(taken, (found.version, found.last + 1))
    if at == 0:
        return None
    version, _, last, ref = taken[at - 1]
    return ref if version == found.version and last >= found.first else None


def declare_pools(graph: Graph, sources: Sources) -> Pools:
    def settled(_: Fetch, __: bool, group: Group[Pool]) -> Iterator[tuple[ObjectRef, Pool]]:  # noqa: FBT001
        return ((each.ref, each) for each in without_conflicts(group))

    alone = graph.derive("address_pools/alone", sources.address_pools, lambda _, ref, found: ((ref, pool(ref, found)),))
    return graph.derive("address_pools/settled", alone.index(lambda _: (True,)), settled)


def declare_pool_verdicts(
    graph: Graph, pools: Pools, frontends: Collection[ObjectRef, Frontend]
) -> Collection[VerdictRef, Verdict]:
    by_pool = frontends.index(lambda frontend: frontend.pools)

    def verdicts(fetch: Fetch, ref: ObjectRef, found: Pool) -> Iterator[tuple[VerdictRef, Verdict]]:
        used = {address for frontend in fetch.by(by_pool, ref) for address in frontend.addresses}
        verdict = pool_verdict(found, sum(_gives(found, address) for address in used))
        yield verdict.ref, verdict

    return graph.derive("verdicts/address_pools", pools, verdicts)


def _gives(found: Pool, address: str) -> bool:
    return any(each.gives(ip_address(address)) for each in found.ranges)


def pool_verdict(found: Pool, used: int) -> Verdict:
    """Conditions as those of Cilium's pools, whose counts are messages, and `Accepted` of what the pool says."""
    prefix = _PREFIX.get(found.ref.kind, "")
    total = 0 if found.conflict else sum(each.usable for each in found.ranges)
    accepted = Condition("Accepted", "True", "Accepted")
    if found.invalid:
        accepted = Condition("Accepted", "False", "InvalidBlocks", f"{found.invalid}; the other blocks are used")
    conflict = Condition(f"{prefix}PoolConflict", "False", "NoConflict")
    if found.conflict:
        conflict = Condition(f"{prefix}PoolConflict", "True", "BlocksOverlap", found.conflict)
    counts = (("IPsTotal", total), ("IPsAvailable", total - used), ("IPsUsed", used))
    return Verdict(
        VerdictRef(found.ref),
        found.generation,
        (
            accepted,
            conflict,
            *(Condition(f"{prefix}{name}", "Unknown", "Counted", str(number)) for name, number in counts),
        ),
    )
