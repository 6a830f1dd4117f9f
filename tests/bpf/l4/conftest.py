"""A node for each file of tests: what one of them leaves in the maps is nothing to another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bpf.l4.node import Node
from tests.bpf.stand import Stand


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Stand(tmp_path_factory.mktemp("bpffs")) as stand:
        yield Node(stand)
