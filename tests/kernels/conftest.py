"""Every kernel runs the cases once, two at a time; tests ask what came out."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.kernels.images import ENOUGH, SUITES, images
from tests.kernels.trial import OWN, Told, on_image, on_own

_TOOLS = ("cpio", "ip", "modprobe", "qemu-system-x86_64", "setpriv", "unshare")


def missing() -> str:
    """What this machine would need, and what gives it that."""
    if os.geteuid() != 0:
        return "root"
    if platform.machine() != "x86_64":
        return "a machine of x86-64, whose programs the kernels in virtual machines run"
    if absent := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(absent)} on PATH: run `make kernel-tools`"
    return ""


@pytest.fixture(scope="session", autouse=True)
def able() -> None:
    """Skipped aloud on a developer's machine; never where CI says that all is tested."""
    if (wants := missing()) and os.environ.get("CI"):
        pytest.fail(f"the tests of kernels need {wants}")
    elif wants:
        pytest.skip(f"NO OTHER KERNEL IS TESTED: it needs {wants}")
    if len(had := [image.name for image in images()]) < ENOUGH:
        pytest.fail(f"of the kernels {', '.join(SUITES)} {len(had)} could be had: run `make kernels`")


@pytest.fixture(scope="session")
def trials(able: None) -> Iterator[dict[str, Future[Told]]]:
    with ThreadPoolExecutor(2) as pool:
        yield {OWN: pool.submit(on_own)} | {image.name: pool.submit(on_image, image) for image in images()}


@pytest.fixture(scope="session")
def trial(trials: dict[str, Future[Told]]) -> Callable[[str], Told]:
    """What the cases told on a kernel; one that no mirror has is skipped aloud, as long as there are enough."""

    def asked(kernel: str) -> Told:
        if kernel not in trials:
            pytest.skip(f"NO LINUX {kernel}: NO MIRROR HAS IT, AND NOTHING IS TESTED ON IT")
        return trials[kernel].result()

    return asked
