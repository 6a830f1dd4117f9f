"""`tidegate version`."""

from __future__ import annotations

import argparse
import json
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_PARTS: Final = ("grpcio", "protobuf", "xds-protos", "msgspec", "google-re2", "cryptography")
_OF_NODES: Final = ("pylibbpf", "pyroute2")
"""What the daemon of a node needs besides; a control plane alone is installed without."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="(default text)")


def run(flags: argparse.Namespace) -> int:
    parts = {"tidegate": version("tidegate"), "python": platform.python_version()}
    parts |= {name: version(name) for name in _PARTS}
    for name in _OF_NODES:
        with suppress(PackageNotFoundError):
            parts[name] = version(name)
    if flags.output == "json":
        print(json.dumps(parts, indent=2))
    else:
        print("\n".join(f"{name} {number}" for name, number in parts.items()))
    return 0
