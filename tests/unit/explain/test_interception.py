"""What becomes of a connection that Envoy does not take: as the daemon chooses."""

from __future__ import annotations

import pytest

from xds_server.explain.interception import IF_OF_NODE, in_kernel
from xds_server.explain.result import Result
from xds_server.model.interception import NOBODY, Frontage, Intercepted, KernelBackend, ServiceRef
from xds_server.model.refs import ObjectRef
from xds_server.translation.interception import service

REF = ServiceRef(ObjectRef("Service", "default", "shop"), 80, "TCP")
FOUR, SIX = "10.96.0.1", "fd00:96::1"
LEAVING = KernelBackend("10.0.1.1", 8080, terminating=True)


def met(address: str, *backends: KernelBackend, at: tuple[str, ...] = (FOUR, SIX)) -> Result:
    made = service(Intercepted(REF, tuple(Frontage(each, 80) for each in at), backends=backends))
    found = in_kernel({made.key: made}, address, 80)
    assert found is not None
    return found


def test_each_endpoint_has_its_own_share() -> None:
    """A route of even weights over one and three endpoints is not told as one of quarters."""
    heavy = KernelBackend("10.0.1.9", 8080, weight=3)
    light = [KernelBackend(f"10.0.1.{number}", 8080) for number in (1, 2, 3)]

    found = {each.endpoints: each.weight for each in met(FOUR, heavy, *light).backends}

    assert {("10.0.1.9:8080",): 3} | {(f"10.0.1.{number}:8080",): 1 for number in (1, 2, 3)} == found


@pytest.mark.parametrize(
    ("address", "backends", "endpoints"),
    [
        (FOUR, (LEAVING, KernelBackend("fd00:1::1", 8080)), ("10.0.1.1:8080",)),
        (SIX, (LEAVING, KernelBackend("fd00:1::1", 8080)), ("[fd00:1::1]:8080",)),
        (FOUR, (LEAVING, KernelBackend("10.0.1.2", 8080)), ("10.0.1.2:8080",)),
        (FOUR, (LEAVING, NOBODY), ("10.0.1.1:8080", "nobody: refused")),
        (FOUR, (KernelBackend("10.0.1.1", 8080, weight=0),), ()),
        (FOUR, (NOBODY,), ()),
    ],
)
def test_who_terminates_has_connections_where_nobody_else_is(
    address: str, backends: tuple[KernelBackend, ...], endpoints: tuple[str, ...]
) -> None:
    """Of the address's family; who is no endpoint at all does not count as somebody."""
    found = met(address, *backends)

    assert endpoints == found.endpoints
    assert ("refuses the connection" in found.reason) == (not endpoints)


def test_every_address_of_the_nodes_is_told_as_that() -> None:
    """Which addresses these are is not known here."""
    assert IF_OF_NODE in met("192.0.2.1", KernelBackend("10.0.1.1", 8080), at=("",)).reason
