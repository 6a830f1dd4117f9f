"""Processes whose sockets the programs have: a pod's, and servers outside; one stand for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bpf.socket_stand import Actor, Sockets, cgroup, network
from tests.bpf.sockets.ways import BACKENDS, KINDS, STEERING


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def node(stack: ExitStack) -> Path:
    return stack.enter_context(network(*STEERING))


@pytest.fixture(scope="module")
def sockets(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Sockets:
    sockets = Sockets(stack, tmp_path_factory.mktemp("sockets"))
    sockets.attach()
    return sockets


@pytest.fixture(scope="module")
def servers(stack: ExitStack, node: Path) -> Actor:
    """Outside the cgroup with the programs, as if on other nodes."""
    outside = stack.enter_context(cgroup())
    actor = Actor(outside, node)
    stack.callback(actor.close)
    for kind in KINDS:
        actor.ask("serve", kind, *((backend, 8080) for backend in BACKENDS), *((f"fd09::{n}", 8080) for n in (1, 2, 3)))
    return actor


@pytest.fixture(scope="module")
def pod(sockets: Sockets, node: Path, servers: Actor) -> Actor:
    return sockets.actor(node)


@pytest.fixture(autouse=True)
def settings(sockets: Sockets) -> None:
    """No process is the node's own, and there is no Envoy."""
    sockets.set()
