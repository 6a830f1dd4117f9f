"""What the daemons at one replica say of addresses, for the replica that decides who announces them; and its decision.

Each second all of it is asked and answered anew: who has not been asked, or answered, for a time knows that by its own
clock, and no message that was lost or came late is ever missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from xds_server.proto.tidegate.relay.v1 import relay_pb2
from xds_server.relay.message import MalformedError

_MOST_DAEMONS: Final = 100_000
_MOST_ADDRESSES: Final = 4_096
_LONGEST_NODE: Final = 256
_LONGEST_ADDRESS: Final = 64


class Daemon(NamedTuple):
    """Of a node: the addresses that it has, and those that it says its Envoy does not serve."""

    node: str
    announces: tuple[str, ...] = ()
    unserved: tuple[str, ...] = ()


Decision = Mapping[str, str]
"""Address -> the node that announces it."""


def request(daemons: Iterable[Daemon]) -> bytes:
    found = [relay_pb2.Daemon(node=n, announces=announces, unserved=unserved) for n, announces, unserved in daemons]
    return bytes(relay_pb2.DecideRequest(daemons=found).SerializeToString())


def response(decision: Decision | None) -> bytes:
    """None where nothing is decided here."""
    return bytes(
        relay_pb2.DecideResponse(decided=decision is not None, holders=dict(decision or {})).SerializeToString()
    )


def read_request(message: bytes) -> list[Daemon]:
    """:raises MalformedError: it is none."""
    found = _parsed(relay_pb2.DecideRequest, message).daemons
    if len(found) > _MOST_DAEMONS:
        raise MalformedError(f"daemons: one replica has at most {_MOST_DAEMONS}")
    return [
        Daemon(_text("node", each.node, _LONGEST_NODE), _texts("announces", each.announces),
               _texts("unserved", each.unserved))
        for each in found
    ]  # fmt: skip


def read_response(message: bytes) -> Decision | None:
    """:raises MalformedError: it is none."""
    found = _parsed(relay_pb2.DecideResponse, message)
    if not found.decided:
        return None
    return {
        _text("holders", address, _LONGEST_ADDRESS): _text("holders", node, _LONGEST_NODE)
        for address, node in found.holders.items()
    }


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise MalformedError(f"the message is not a {kind.DESCRIPTOR.full_name}") from None


def _texts(field: str, found: Iterable[str]) -> tuple[str, ...]:
    return tuple(_text(field, each, _LONGEST_ADDRESS) for _, each in zip(range(_MOST_ADDRESSES), found, strict=False))


def _text(field: str, text: str, longest: int) -> str:
    if not text or len(text) > longest or not text.isprintable():
        raise MalformedError(f"{field}: it is empty, longer than {longest} characters, or has some that do not print")
    return text
