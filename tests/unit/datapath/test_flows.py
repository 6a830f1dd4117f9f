"""What is told to who listens besides what the kernel says."""

from __future__ import annotations

from ipaddress import ip_address

from datapath.ageing import Aged
from datapath.flows import record, text
from datapath.kernel.layout import Connection, Flow, Progress

CLIENT, SERVICE, BACKEND = map(ip_address, ("2001:db8::7", "2001:db8::80", "fd00::8"))


def test_a_connection_that_is_forgotten_says_what_it_was() -> None:
    """It is the daemon that says so, at the time when it does."""
    flow = Flow(CLIENT, SERVICE, 4000, 80, 17)
    aged = Aged(2, flow, Connection(BACKEND, 8080, 1, 1, 0, None, 0), Progress.REPLIED, 31)

    assert "2.000000 aged_opening daemon udp [2001:db8::7]:4000 -> [2001:db8::80]:80" == text(record(aged, str))
