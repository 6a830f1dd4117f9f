"""Kernels of Debian for virtual machines, fetched and made bootable below a folder; what is there is not fetched again.

The mirror is the one that this machine's apt has; no version is pinned, for mirrors drop old builds.
`python -m tests.kernels.images FOLDER` says what could be had.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
FOLDER: Final = HERE.parents[1] / ".kernels"
INIT: Final = HERE / "initrd.sh"
"""An image keeps the one that it was made with."""
SUITES: Final = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7.x": "trixie-backports"}
"""By the name that tests know a kernel by. No suite has 6.6, the first with tcx: 6.1 and 6.12 are on its two sides."""
ENOUGH: Final = 3
"""So many of them have to be had. The suite of 5.10 is at the end of its life, and will leave the mirrors."""

_PACKAGE: Final = "linux-image-cloud-amd64"
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
# From 7.0 on an image is several packages.
_PART: Final = re.compile(r"linux-(image|binary|modules|base)-[0-9][0-9a-z.+-]*-amd64")
# What it takes to see the root file system: the host's tree, read-only, and an overlay in memory.
_FIRST_MODULES: Final = ("virtio_pci", "virtiofs", "overlay")
_UNPACK: Final = {".ko": ("cat",), ".xz": ("xz", "-dc"), ".zst": ("zstd", "-qdc")}


class NotToBeHad(Exception):
    """The message says which kernel, and what was refused in the words of who refused it."""


@dataclass(frozen=True, slots=True)
class Image:
    """A kernel in its folder, with its modules and the first file system that it sees."""

    name: str
    folder: Path

    @property
    def release(self) -> str:
        return next((self.folder / "lib/modules").iterdir()).name

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.gz"


def images(folder: Path = FOLDER) -> list[Image]:
    """What was fetched before, oldest first."""
    return [Image(name, folder / name) for name in SUITES if (folder / name).is_dir()]


def fetch(folder: Path, name: str) -> Image:
    image = Image(name, folder / name)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{name}-") as part:
        if not image.folder.is_dir():
            make(Path(part), name, SUITES[name])
            (Path(part) / "image").rename(image.folder)
        elif not (image.folder / "init").is_file() or not filecmp.cmp(image.folder / "init", INIT, shallow=False):
            make_initrd(image, Path(part) / "initrd")
    return image


def make(part: Path, name: str, suite: str) -> None:
    """The image below `part`; all else there may go."""
    apt = [*sources(part, suite)]
    run(name, "apt-get", "-qq", *apt, "update")
    debs, tree, image = part / "debs", part / "tree", part / "image"
    debs.mkdir()
    run(name, "apt-get", "-qq", *apt, "download", *packages(name, apt), cwd=debs)
    for deb in debs.iterdir():
        run(name, "dpkg-deb", "-x", str(deb), str(tree))
    (image / "lib").mkdir(parents=True)
    only(name, tree, "vmlinuz*").rename(image / "vmlinuz")
    only(name, tree, "lib/modules").rename(image / "lib/modules")
    run(name, "depmod", "-b", str(image), Image(name, image).release)
    make_initrd(Image(name, image), part / "initrd")


def only(name: str, tree: Path, pattern: str) -> Path:
    """Where it is has changed from one release of Debian to the next."""
    found = sorted(tree.rglob(pattern))
    if len(found) != 1:
        raise NotToBeHad(f"{name}: its packages have {len(found)} of {pattern}")
    return found[0]


def sources(part: Path, suite: str) -> Iterator[str]:
    """Options that let apt see one suite, and keep what it learns of it away from the machine's own state."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (part / "apt" / folder).mkdir(parents=True)
    listed = part / "apt/sources.list"
    listed.write_text(f"deb [signed-by={_KEYRING}] {mirror()} {suite} main\n")
    settings = {
        "APT::Sandbox::User": "root",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "Acquire::Languages": "none",
        "Dir::Cache": part / "apt/cache",
        "Dir::Etc::sourcelist": listed,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": part / "apt/lists",
    }
    for key, value in settings.items():
        yield f"-o{key}={value}"


def mirror() -> str:
    """Of this machine's own releases of Debian; those with fixes for their security are elsewhere."""
    told = run("the kernels", "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)")
    found = [line.split("|", 2)[2] for line in told.splitlines() if line.startswith("Debian|Debian|")]
    if not found:
        raise NotToBeHad("the kernels: apt on this machine knows no mirror of Debian; run apt-get update, or add one")
    return found[0]


def packages(name: str, apt: list[str]) -> list[str]:
    """What the package that stands for the newest build of the suite comes to."""
    unwanted = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances", "pre-depends")
    told = run(
        name, "apt-cache", *apt, "depends", "--recurse", *(f"--no-{relation}" for relation in unwanted), _PACKAGE
    )
    found = {line for line in told.splitlines() if _PART.fullmatch(line)} - {_PACKAGE}
    if not found:
        raise NotToBeHad(f"{name}: suite {SUITES[name]} has no {_PACKAGE}")
    return sorted(found)


def make_initrd(image: Image, tree: Path) -> None:
    """The modules in the order in which they have to be loaded, and who loads them."""
    for folder in ("bin", "proc", "sys", "dev", "modules", "lower", "rw", "root"):
        (tree / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NotToBeHad(f"{image.name}: no busybox on PATH; run `make kernel-tools`")
    shutil.copy(busybox, tree / "bin/busybox")
    shutil.copy(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    for number, module in enumerate(first_modules(image)):
        unpacked = subprocess.run([*_UNPACK[module.suffix], module], check=True, capture_output=True).stdout
        (tree / f"modules/{number:02}").write_bytes(unpacked)
    files = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with image.initrd.open("wb") as packed:
        archive = subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"],
            cwd=tree,
            input=files.encode(),
            check=True,
            capture_output=True,
        )
        subprocess.run(["gzip", "-1"], input=archive.stdout, stdout=packed, check=True)
    shutil.copy(INIT, image.folder / "init")


def first_modules(image: Image) -> list[Path]:
    """Each after what it depends on; what a kernel has built in is none."""
    found: dict[Path, None] = {}
    for module in _FIRST_MODULES:
        told = run(image.name, "modprobe", "-d", str(image.folder), "-S", image.release, "--show-depends", module)
        found |= {Path(line.split()[1]): None for line in told.splitlines() if line.startswith("insmod ")}
    return list(found)


def run(name: str, *command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
    )
    if done.returncode != 0:
        raise NotToBeHad(f"{name}: {' '.join(command[:1])} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def main(folder: Path) -> int:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        print(
            "NO OTHER KERNEL IS FETCHED: only root can run them, and the tests of kernels are skipped", file=sys.stderr
        )
        return 0
    folder.mkdir(exist_ok=True)
    missing = 0
    with ThreadPoolExecutor(2) as pool:
        fetched = {name: pool.submit(fetch, folder, name) for name in SUITES}
        for name, future in fetched.items():
            try:
                print(f"Linux {name}: {future.result().release}")
            except NotToBeHad as refused:
                missing += 1
                print(f"NO LINUX {name}, NOTHING IS TESTED ON IT: {refused}", file=sys.stderr)
    return 0 if len(SUITES) - missing >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
