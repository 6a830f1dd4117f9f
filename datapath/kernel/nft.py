"""The few static rules of nftables: what is steered, and what Envoy sends, is not connection tracked.

So no NAT of others (kube-proxy's, a CNI's) changes it. What is to be refused is answered with a reset: the kernel's own
would not be sent from an address that is not the node's.
One table, written whole in one transaction, by the netlink protocol itself: a node needs no nft binary.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple

from datapath.kernel.layout import MARK_MASK, MARK_REFUSE, MARK_TO_PROXY
from datapath.kernel.libbpf import BpfError
from datapath.kernel.netlink import Netlink, attribute, attributes

TABLE: Final = "tidegate"
STEERED_MASK: Final = 0x0600
"""All of our marks are one under it: what is steered, and what Envoy sends. So is what is refused, which no node sends,
but where its reset gets the mark (`fwmark_reflect`): it belongs to no connection either.
"""

_NETLINK_NETFILTER: Final = 12
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_SUBSYSTEM: Final = 10
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = (
    (_SUBSYSTEM << 8) | message for message in (0, 1, 2, 3, 4, 6, 7)
)
_TABLE_NAME: Final = 1
"""The attribute that a table, its chains and its rules have it in."""
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_ERROR: Final = 2
_INET: Final = 1
_OF_INET: Final = bytes((_INET, 0, 0, 0))
_NESTED: Final = 0x8000
_RAW_PRIORITY: Final = -300
_REGISTER: Final = 1
_META_MARK: Final = 3
_EQUAL: Final = 0
_ANSWER_S: Final = 10
_TCP_RESET: Final = 1


class Rule(NamedTuple):
    mark: int
    mask: int
    verdict: Literal["notrack", "reject"]


class Chain(NamedTuple):
    name: str
    hook: int
    rules: tuple[Rule, ...]


CHAINS: Final = (
    Chain(
        "prerouting",
        0,
        (Rule(MARK_TO_PROXY, MARK_MASK, "notrack"), Rule(MARK_REFUSE, MARK_MASK, "reject")),
    ),
    Chain(
        "output",
        3,
        # What a process of the node sends to a service has the mark from its socket.
        (Rule(MARK_TO_PROXY, STEERED_MASK, "notrack"),),
    ),
)


def install() -> None:
    """The table as it is here, whatever it was."""
    table = _text(1, TABLE)
    messages = [(_NEWTABLE, _CREATE, table), (_DELTABLE, 0, table), (_NEWTABLE, _CREATE, table)]
    for chain in CHAINS:
        messages.append((_NEWCHAIN, _CREATE, _chain(chain)))
        messages += [
            (_NEWRULE, _CREATE | _APPEND, _rule(chain.name, each, last=each is chain.rules[-1])) for each in chain.rules
        ]
    _commit(messages)


def remove() -> None:
    try:
        _commit([(_DELTABLE, 0, _text(1, TABLE))])
    except BpfError as error:
        if error.errno != errno.ENOENT:
            raise


def dumped() -> bytes:
    """The table as the kernel has it, all of it: nothing where there is none, and something else after any change.

    A firewall that starts anew flushes all tables, and somebody may take a rule out of one, or have it sleep.
    """
    asked = _OF_INET + _text(_TABLE_NAME, TABLE)
    with Netlink(_NETLINK_NETFILTER) as netlink:
        told = [message for kind in (_GETTABLE, _GETCHAIN, _GETRULE) for message in netlink.dump(kind, asked)]
    # What comes before the attributes has the number of the last change to any table.
    bodies = [message[len(_OF_INET) :] for message in told if message[0] == _INET]
    own = TABLE.encode() + b"\0"
    return b"".join(body for body in bodies if attributes(body).get(_TABLE_NAME) == own)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i", value))


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _value(kind: int, mark: int) -> bytes:
    """A mark is compared as the kernel has it in a register: in the host's order."""
    return _nested(kind, attribute(1, struct.pack("=I", mark)))


def _chain(chain: Chain) -> bytes:
    hook = _nested(4, _number(1, chain.hook), _number(2, _RAW_PRIORITY))
    return _text(1, TABLE) + _text(3, chain.name) + hook + _text(7, "filter")


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, _text(1, name), *([_nested(2, *parts)] if parts else []))


# The chain ends there: no other of its rules is for such a packet, and what others ask of it is asked all the same.
_ACCEPTED: Final = _expression("immediate", _number(1, 0), _nested(2, _nested(2, _number(1, 1))))


def _rule(chain: str, rule: Rule, *, last: bool) -> bytes:
    register = _number(1, _REGISTER)
    masked = (register, _number(2, _REGISTER), _number(3, 4), _value(4, rule.mask), _value(5, 0))
    reset = (_number(1, _TCP_RESET),) if rule.verdict == "reject" else ()
    expressions = (
        _expression("meta", register, _number(2, _META_MARK)),
        _expression("bitwise", *masked),
        _expression("cmp", register, _number(2, _EQUAL), _value(3, rule.mark)),
        _expression(rule.verdict, *reset),
        *([] if last else [_ACCEPTED]),
    )
    return _text(1, TABLE) + _text(2, chain) + _nested(4, *expressions)


def _message(kind: int, flags: int, sequence: int, family: int, resource: int, body: bytes) -> bytes:
    length = 16 + 4 + len(body)
    header = struct.pack("=IHHII", length, kind, flags | _REQUEST, sequence, 0)
    return header + struct.pack(">BBH", family, 0, resource) + body


def _commit(messages: Iterable[tuple[int, int, bytes]]) -> None:
    """All or none; the first refusal is raised."""
    batch, last = [_message(_BATCH_BEGIN, 0, 0, 0, _SUBSYSTEM, b"")], 0
    for last, (kind, flags, body) in enumerate(messages, 1):
        batch.append(_message(kind, flags | _ACK, last, _INET, 0, body))
    batch.append(_message(_BATCH_END, 0, last + 1, 0, _SUBSYSTEM, b""))
    with _netlink() as netlink:
        netlink.send(b"".join(batch))
        _acknowledged(netlink, last)


@contextmanager
def _netlink() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as netlink:
        netlink.bind((0, 0))
        netlink.settimeout(_ANSWER_S)
        yield netlink


def _acknowledged(netlink: socket.socket, last: int) -> None:
    while True:
        octets = netlink.recv(1 << 16)
        while octets:
            length, kind, _, sequence = struct.unpack_from("=IHHI", octets)
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", octets, 16)
                if code:
                    raise BpfError("nftables", f"table inet {TABLE}", -code)
                if sequence == last:
                    return
            octets = octets[(length + 3) & ~3 :]
