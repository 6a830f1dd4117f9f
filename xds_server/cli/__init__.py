"""The `tidegate` command: one module per subcommand, loaded when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Final

from xds_server.collector import for_good
from xds_server.config import ConfigError
from xds_server.xds.handshakes import TRACED

_COMMANDS: Final = {
    "up": "serve a directory of manifests through a local Envoy, with a live view",
    "check": "print every object's conditions and warnings, of manifests or of a live cluster",
    "explain": "say what a request would meet: listener, route, rule, backends, or which error, and why",
    "status": "say what runs on a cluster, and what is wrong and what to do",
    "serve": "run the ADS server alone",
    "bootstrap": "print an Envoy bootstrap that points at the ADS server",
    "proxy": "run the Envoy of a node, with a certificate of its own that is renewed in time",
    "node": "run the daemon of a node, which steers connections to its Envoy, or ask it",
    "identity": "get the certificate of a node for its daemon, and renew it in time",
    "certificates": "make the certificates of the mesh, and renew those that are due",
    "demo": "serve the example, with its backends, and walk through it",
    "version": "print the versions of Tidegate and of what it is made of",
}

# What libraries read from the environment when they are loaded.
_ENVIRONMENTS: Final = {"serve": TRACED}
_MODULES: Final = {"node": "datapath.cli"}
"""Of commands that are not ours; by name, for neither package imports the other."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 is success, 1 is what the command found, 2 is wrong usage."""
    parser = argparse.ArgumentParser(prog="tidegate", description="A service mesh and gateway without sidecars.")
    parser.add_argument("--version", action="version", version=f"tidegate {metadata.version('tidegate')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = list(sys.argv[1:] if argv is None else argv)
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == wanted:  # the others are only listed
            for key, value in _ENVIRONMENTS.get(name, {}).items():
                os.environ.setdefault(key, value)
            with for_good():
                module = importlib.import_module(_MODULES.get(name, f"xds_server.cli.{name}"))
            module.add_flags(command)
            command.set_defaults(run=module.run)
    flags = parser.parse_args(arguments)
    try:
        code: int = flags.run(flags)
    except ConfigError as error:
        print(f"tidegate {flags.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code
