"""What was accepted, in a file: a daemon that starts while nobody serves it knows what it did before.

The file is replaced as a whole; one that cannot be used is as none, and what the kernel has stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from datapath.discovery import Accepted, Held, Key, types
from datapath.resources import InvalidResource, decoded
from xds_server.proxy.process import replace_private_file

FORMAT: Final = 1


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    type_url: str
    name: str
    version: str
    body: bytes


class _File(msgspec.Struct, frozen=True):
    format: int
    node: str
    heard: list[str]
    entries: list[_Entry]


class UnusableFile(ValueError):
    """The text says of which file, and why."""


class OtherNode(UnusableFile):
    """What was accepted is of a node of another name."""


def write(path: Path, node: str, accepted: Accepted) -> None:
    """:raises OSError: it cannot be written; the one before is still there."""
    entries = [_Entry(*key, found.version, found.body) for key, found in sorted(accepted.held.items())]
    text = msgspec.json.encode(_File(FORMAT, node, sorted(accepted.heard), entries))
    try:
        replace_private_file(path, text)
    except OSError as error:
        way = "make room there, or see that it can be written: the next daemon begins with the one before"
        raise OSError(f"{path} cannot be written ({error.strerror}): {way}") from None


def read(path: Path, node: str) -> Accepted:
    """Nothing where there is no file.

    :raises OtherNode: there is one of a node of another name.
    :raises UnusableFile: there is one, but of another version of Tidegate, or broken.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Accepted()
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}") from None
    try:
        found = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableFile(f"{path}: {error}") from None
    if found.format != FORMAT:
        raise UnusableFile(f"{path}: it has format {found.format}")
    if found.node != node:
        raise OtherNode(f"{path} is of node {found.node[:256]!r}")
    known = types(node)
    held: dict[Key, Held] = {}
    for entry in found.entries:
        if entry.type_url not in known:
            continue
        try:
            resource = decoded(entry.type_url, entry.name, entry.body)
        except InvalidResource as fault:
            raise UnusableFile(f"{path}: {entry.name[:256]}: {fault}") from None
        held[entry.type_url, entry.name] = Held(entry.version, entry.body, resource)
    return Accepted(held, frozenset(type_url for type_url in found.heard if type_url in known))
