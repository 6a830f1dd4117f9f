"""From a connection to what serves it: the listeners at a port, and the filter chain that Envoy picks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple

from xds_server.explain.match import UnmodelledError
from xds_server.explain.request import Target

_OFFERED: Final = frozenset({"h2", "http/1.1"})
_BEGUN: Final = frozenset({"http/1.1"})
ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound


class Binding(NamedTuple):
    address: str
    port: int


class Connection(NamedTuple):
    """What Envoy knows of a connection before it reads a request."""

    address: str
    port: int
    tls: bool
    sni: str
    protocols: frozenset[str]
    """Of the application, as far as Envoy finds out by what a client offers, or sends first."""


def is_at(binding: Binding, address: str) -> bool:
    """Whether a connection to an address arrives there; an empty address is any."""
    if not address or binding.address in ANY_ADDRESS:
        return True
    try:
        return ip_address(binding.address) == ip_address(address)
    except ValueError:
        raise ValueError(f"address {address!r}: not an IP address") from None


def bindings(listener: Any) -> Iterator[Binding]:
    """Every address that a listener listens on."""
    for address in (listener.address, *(each.address for each in listener.additional_addresses)):
        if address.WhichOneof("address") == "socket_address":
            yield Binding(address.socket_address.address, address.socket_address.port_value)


def connection(target: Target, binding: Binding, listener: Any) -> Connection:
    inspected = {each.typed_config.type_url.rpartition(".")[2] for each in listener.listener_filters}
    told = _OFFERED if target.tls and "TlsInspector" in inspected else frozenset()
    if not target.tls and "HttpInspector" in inspected:
        told = _BEGUN
    return Connection(binding.address, binding.port, target.tls, target.sni, told)


# Each criterion ranks a chain's match for a connection: higher is more specific, 0 is "does not ask", None is "no".


def _by_port(match: Any, arrived: Connection) -> int | None:
    if not match.HasField("destination_port"):
        return 0
    return 1 if match.destination_port.value == arrived.port else None


def _by_address(match: Any, arrived: Connection) -> int | None:
    if not match.prefix_ranges:
        return 0
    lengths = [
        each.prefix_len.value + 1
        for each in match.prefix_ranges
        if ip_address(arrived.address) in ip_network(f"{each.address_prefix}/{each.prefix_len.value}", strict=False)
    ]
    return max(lengths, default=None)


def _by_server_name(match: Any, arrived: Connection) -> int | None:
    """An exact name is better than a wildcard, a longer wildcard better than a shorter."""
    if not match.server_names:
        return 0
    ranks = [
        len(name) + (1000 if name == arrived.sni else 0)
        for name in match.server_names
        if name == arrived.sni or (name.startswith("*.") and arrived.sni.endswith(name[1:]) and arrived.sni != name[1:])
    ]
    return max(ranks, default=None)


def _by_transport(match: Any, arrived: Connection) -> int | None:
    if not match.transport_protocol:
        return 0
    return 1 if match.transport_protocol == ("tls" if arrived.tls else "raw_buffer") else None


def _by_alpn(match: Any, arrived: Connection) -> int | None:
    if not match.application_protocols:
        return 0
    return 1 if arrived.protocols.intersection(match.application_protocols) else None


# Envoy narrows in this order and never turns back: a chain that is best by an earlier criterion is not
# exchanged for another when a later criterion refuses it.
CRITERIA: Final[tuple[Callable[[Any, Connection], int | None], ...]] = (
    _by_port,
    _by_address,
    _by_server_name,
    _by_transport,
    _by_alpn,
)
_UNMODELLED: Final = ("direct_source_prefix_ranges", "source_prefix_ranges", "source_ports", "source_type")


def filter_chain(listener: Any, arrived: Connection) -> Any | None:
    """The chain that takes the connection; None when Envoy closes it."""
    if listener.HasField("filter_chain_matcher"):
        raise UnmodelledError("filter_chain_matcher of the listener")
    candidates = list(listener.filter_chains)
    for each in candidates:
        for name in _UNMODELLED:
            if getattr(each.filter_chain_match, name):
                raise UnmodelledError(f"filter chain match {name}, which depends on the client's address")
    for criterion in CRITERIA:
        ranked = [(criterion(each.filter_chain_match, arrived), each) for each in candidates]
        best = max((rank for rank, _ in ranked if rank is not None), default=None)
        candidates = [each for rank, each in ranked if rank is not None and rank == best]
    if candidates:
        return candidates[0]
    return listener.default_filter_chain if listener.HasField("default_filter_chain") else None


def server_names(listener: Any) -> tuple[str, ...]:
    """The names that a listener's chains ask for, for an explanation of why none fits."""
    names = {name for each in listener.filter_chains for name in each.filter_chain_match.server_names}
    return tuple(sorted(names))
