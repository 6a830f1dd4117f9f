"""What the node's links are, by what the kernel says of them."""

from __future__ import annotations

import pytest
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from datapath.workloads import beside

ETH0, BOND0, BR0, ETH1 = 2, 3, 4, 5
LINKS = {ETH0: "eth0", BOND0: "bond0", BR0: "br0", ETH1: "eth1"}
DEFAULT = rtmsg().load({"attrs": [("RTA_OIF", BR0)]})


@pytest.mark.parametrize(
    ("named", "masters", "told"),
    [
        (BR0, {}, False),
        (ETH0, {ETH0: BR0}, False),
        (ETH0, {ETH0: BOND0, BOND0: BR0}, False),
        (ETH1, {ETH0: BOND0, BOND0: BR0}, True),
        (ETH1, {ETH1: BOND0, BOND0: ETH1}, True),
    ],
    ids=["itself", "port", "port of a port", "another", "loop"],
)
def test_a_device_leads_where_all_that_it_is_a_port_of_leads(named: int, masters: dict[int, int], told: bool) -> None:
    """However many there are between it and the default route, and also where they are seen in a circle."""
    found = beside({named: LINKS[named]}, dict.fromkeys(LINKS, 0) | masters, [DEFAULT], LINKS)

    assert told == bool(found)
