"""A virtual machine for one program: an image's kernel on the tree of this machine, which it cannot change.

The processor is emulated, so that neither hardware nor rights are asked for: code is some thirty times slower in it.
What the program writes to /dev/ttyS1 is what comes out of it.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kernels.images import HERE, Image

LIMIT_S: Final = 600.0
"""A machine takes a twentieth of this where nothing else runs."""
_MEMORY: Final = "768M"
_READY_S: Final = 10.0
_VIRTIOFSD: Final = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
# It cannot have / itself: it puts its own root where it shares from. So it gets the mounts that are named in $@ below
# another folder, in a namespace of mounts of its own.
_SHARE: Final = """
share=$1 server=$2 socket=$3; shift 3
for place in "$@"; do
	mount --bind "$place" "$share$place" && mount -o remount,bind,ro "$share$place" || exit 1
done
exec "$server" --socket-path="$socket" -o source="$share" -o cache=always -f
"""


class NoMachine(Exception):
    """The message has what the parts of it said."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program left: the lines that it wrote out, and what was on the console."""

    written: str
    console: str


def run(image: Image, command: str, places: Sequence[Path]) -> Ran:
    """Boot, run a line of sh, power off. `places` are paths that the program needs."""
    with tempfile.TemporaryDirectory(prefix="tidegate-kernel-") as name, shared(Path(name), places) as socket:
        written = Path(name, "written")
        console = emulate(image, command, socket, written)
        return Ran(written.read_text(errors="replace") if written.exists() else "", console)


@contextmanager
def shared(folder: Path, places: Sequence[Path]) -> Iterator[Path]:
    """The socket that this machine's tree is had from, read-only, with the mounts that `places` are in."""
    server = next((path for path in _VIRTIOFSD if shutil.which(path)), None)
    if server is None:
        raise NoMachine(f"none of {', '.join(_VIRTIOFSD)} is there: run `make kernel-tools`")
    share, socket, log = folder / "share", folder / "socket", folder / "log"
    share.mkdir()
    arguments = [str(share), server, str(socket), *map(str, sorted({Path("/"), *map(mount_of, places)}))]
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", _SHARE, "sh", *arguments],
            stdout=said,
            stderr=said,
        )
    try:
        patience = time.monotonic() + _READY_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > patience:
                raise NoMachine(f"{server} does not serve this machine's tree: {log.read_text().strip()}")
            time.sleep(0.01)
        yield socket
    finally:
        process.kill()
        process.wait()


def mount_of(path: Path) -> Path:
    """The mount that a path is in."""
    resolved = path.resolve()
    return next(place for place in (resolved, *resolved.parents) if os.path.ismount(place))


def emulate(image: Image, command: str, socket: Path, written: Path) -> str:
    """What was on the console."""
    settings = {
        "console": "ttyS0",
        "loglevel": "5",
        "panic": "-1",
        "tsc": "reliable",
        "guest": str(HERE / "guest.sh"),
        "image": str(image.folder),
        "program": base64.b64encode(command.encode()).decode(),
    }
    arguments = [
        *("-M", "q35", "-cpu", "max", "-accel", "tcg,thread=multi", "-m", _MEMORY, "-numa", "node,memdev=memory"),
        *("-object", f"memory-backend-memfd,id=memory,size={_MEMORY},share=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-serial", f"file:{written}"),
        *("-chardev", f"socket,id=host,path={socket}", "-device", "vhost-user-fs-pci,chardev=host,tag=host"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", " ".join(["quiet", *(f"{key}={value}" for key, value in settings.items())])),
    ]
    try:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "nice", "qemu-system-x86_64", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        console = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else ""
        raise NoMachine(f"Linux {image.name} did not end within {LIMIT_S:.0f} s:\n{console}") from None
    if done.returncode != 0:
        raise NoMachine(f"qemu-system-x86_64: {done.stderr.strip()}")
    return done.stdout
