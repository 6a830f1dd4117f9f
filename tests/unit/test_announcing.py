"""Which node holds an address, as daemons come, go and say what they have: with a clock that only the test moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.ingestion.test_announcements import GATEWAY, POOL, policy
from tests.unit.ingestion.world import DIRECTORY
from xds_server.announcing import Announcing
from xds_server.controller import Controller
from xds_server.files import manifest
from xds_server.metrics import Metrics
from xds_server.model.resource import ANNOUNCEMENTS, ResourceKey
from xds_server.pipeline import Pipeline
from xds_server.proto.tidegate.datapath.v1.datapath_pb2 import Announcements
from xds_server.relay.daemons import Daemon
from xds_server.translation.settings import TranslationSettings
from xds_server.xds.streams import Client

A, B = Client("a", 1), Client("b", 2)
ADDRESS = "192.0.2.8"
POLICY = policy("loadBalancerIPs: true, interfaces: [eth0]")


class World:
    def __init__(self, *objects: str) -> None:
        self.now = 100.0
        self.withheld = False
        settings = replace(DIRECTORY, datapath=True)
        self.pipeline = Pipeline.declare(settings, TranslationSettings(datapath=True))
        self.controller = Controller(self.pipeline, Metrics(), lambda _: None, lambda _: None)
        self.announcing = Announcing(self.controller, LEASE_S, self.withhold, clock=lambda: self.now)
        self.put(POOL, GATEWAY, *(objects or (POLICY,)))

    def withhold(self, *, withheld: bool) -> None:
        self.withheld = withheld

    def put(self, *objects: str) -> None:
        for text in objects:
            self.controller.apply({found.ref: found.object for found in manifest.read(text).objects})
        self.controller.commit()

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.decided()

    def decided(self) -> None:
        self.announcing.decide()
        self.controller.commit()

    def told(self, node: str) -> Any:
        """The addresses that the daemon of a node is told."""
        resource = self.pipeline.resources.get(ResourceKey(ANNOUNCEMENTS, node))
        found = Announcements.FromString(resource.body).announcements if resource else ()
        return [(bytes(each.address), list(each.interfaces)) for each in found]


LEASE_S = 10.0
PACKED = (bytes([192, 0, 2, 8]), ["eth0"])


def test_nobody_is_told_before_all_could_say_what_they_have() -> None:
    """For a lease after it began, a control plane takes claims and gives nothing."""
    world = World()
    world.decided()
    world.announcing.connected(A, ())
    world.passes(LEASE_S - 1)
    before = world.told("a")
    world.passes(1)

    assert [] == before
    assert [PACKED] == world.told("a")


def test_a_daemon_keeps_what_it_says_it_has() -> None:
    """Where its control plane is new, at once; whoever else is there."""
    world = World()
    world.announcing.connected(A, ())
    world.announcing.connected(B, (ADDRESS,))
    world.decided()

    assert ([], [PACKED]) == (world.told("a"), world.told("b"))


def test_what_two_daemons_claim_goes_to_one_of_them() -> None:
    """The first; who claims what another one holds is told that it is not his."""
    world = World()
    world.announcing.connected(B, (ADDRESS,))
    world.decided()
    world.announcing.connected(A, (ADDRESS,))
    world.decided()

    assert ([], [PACKED]) == (world.told("a"), world.told("b"))


def test_a_claim_of_what_is_not_announced_counts_for_nothing() -> None:
    """A daemon cannot make an address its own."""
    world = World()
    world.decided()
    world.announcing.connected(A, ("192.0.2.9", "nonsense"))
    world.passes(LEASE_S)

    assert [PACKED] in (world.told("a"), world.told("b"))
    assert [ADDRESS] == list(world.pipeline.sources.holders)


def test_an_address_moves_when_its_node_is_gone_for_a_lease() -> None:
    """Not before: a daemon that is started again answers for what it had all the time."""
    world = World()
    world.announcing.connected(A, (ADDRESS,))
    world.announcing.connected(B, ())
    world.passes(LEASE_S)
    world.announcing.gone(A)
    world.passes(LEASE_S - 1)
    before = world.told("a"), world.told("b")
    world.passes(1)

    assert ([PACKED], []) == before
    assert ([], [PACKED]) == (world.told("a"), world.told("b"))


def test_a_daemon_that_returns_in_time_keeps_its_addresses() -> None:
    """Whether its old stream ends before or after the new one begins."""
    world = World()
    again = Client("a", 3)
    world.announcing.connected(A, (ADDRESS,))
    world.announcing.connected(B, ())
    world.passes(LEASE_S)
    world.announcing.connected(again, (ADDRESS,))
    world.announcing.gone(A)
    world.passes(10 * LEASE_S)

    assert ([PACKED], []) == (world.told("a"), world.told("b"))


def test_an_address_leaves_a_node_that_does_not_serve_it() -> None:
    """At once: its daemon has waited; and it does not come back when the node serves it again."""
    world = World()
    world.decided()
    world.announcing.connected(A, (ADDRESS,))
    world.announcing.connected(B, ())
    world.passes(LEASE_S)
    world.announcing.unserved(A, (ADDRESS, "192.0.2.9"))
    world.decided()
    moved = world.told("a"), world.told("b")
    world.announcing.unserved(A, ())
    world.passes(LEASE_S)

    assert [([], [PACKED])] * 2 == [moved, (world.told("a"), world.told("b"))]


def test_an_address_that_no_node_serves_stays_where_it_is() -> None:
    """Until there is one that does."""
    world = World()
    world.decided()
    world.announcing.connected(A, (ADDRESS,))
    world.announcing.connected(B, ())
    for client in (B, A):
        world.announcing.unserved(client, (ADDRESS,))
    world.passes(2 * LEASE_S)
    before = world.told("a"), world.told("b")
    world.announcing.unserved(B, ())
    world.decided()

    assert [([PACKED], []), ([], [PACKED])] == [before, (world.told("a"), world.told("b"))]


def test_who_comes_back_after_its_address_moved_is_told_so() -> None:
    """It is not moved again."""
    world = World()
    world.announcing.connected(A, (ADDRESS,))
    world.announcing.connected(B, ())
    world.passes(LEASE_S)
    world.announcing.gone(A)
    world.passes(LEASE_S)
    world.announcing.connected(Client("a", 3), (ADDRESS,))
    world.passes(LEASE_S)

    assert ([], [PACKED]) == (world.told("a"), world.told("b"))


def test_a_replica_that_does_not_lead_says_nothing() -> None:
    """Neither that its daemons have an address, nor that they have none: they keep what they have."""
    world = World()
    world.announcing.leads = lambda: False
    world.announcing.connected(A, (ADDRESS,))
    world.passes(LEASE_S)
    follower = world.withheld, world.told("a")
    world.announcing.leads = lambda: True
    world.decided()
    leader = world.withheld, world.told("a")

    assert (True, []) == follower
    assert (True, [PACKED]) == leader


def test_a_daemon_at_another_replica_takes_an_address_over() -> None:
    """It is a candidate for a lease after that replica last told of it; what was decided is the answer."""
    world = World()
    world.decided()
    world.announcing.connected(A, (ADDRESS,))
    unsettled = world.announcing.reported([Daemon("b")])
    world.passes(LEASE_S)
    before = world.announcing.reported([Daemon("b")])
    world.announcing.gone(A)
    world.passes(LEASE_S - 1)
    world.announcing.reported([Daemon("b")])
    world.passes(1)
    after = world.announcing.reported([])
    world.announcing.connected(A, ())
    world.passes(LEASE_S)

    assert (None, {ADDRESS: "a"}, {ADDRESS: "b"}) == (unsettled, before, after)
    assert [PACKED] == world.told("a")


def test_what_a_daemon_at_another_replica_says_counts_as_if_it_said_it_here() -> None:
    """What it has, it keeps; what its Envoy does not serve goes to another."""
    world = World()
    world.announcing.connected(A, ())
    world.announcing.reported([Daemon("b", announces=(ADDRESS,))])
    world.passes(LEASE_S - 1)
    kept = world.announcing.reported([Daemon("b")]), world.told("b")
    world.passes(LEASE_S - 1)
    world.announcing.reported([Daemon("b")])
    world.passes(1)
    world.announcing.reported([Daemon("b", unserved=(ADDRESS,))])
    world.decided()

    assert ((None, [PACKED]), ([PACKED], [])) == (kept, (world.told("a"), world.told("b")))


def test_a_replica_that_follows_tells_its_daemons_what_it_heard() -> None:
    """For half of the lease from when it asked; then nothing, until it hears again."""
    world = World()
    world.announcing.leads = lambda: False
    world.announcing.connected(A, (ADDRESS,))
    said = [world.announcing.here()]
    world.announcing.heard({ADDRESS: "a"}, world.now - 1)
    for _ in range(2):
        world.decided()
    told = world.withheld, world.told("a")
    world.announcing.heard(None, world.now)
    said.append(world.announcing.here())
    world.passes(LEASE_S / 2 - 1)
    late = world.withheld

    assert [[Daemon("a", (ADDRESS,))]] * 2 == said
    assert ((False, [PACKED]), True) == (told, late)


def test_a_replica_that_begins_to_lead_goes_on_with_what_it_heard() -> None:
    """It gives nothing else away for a lease."""
    world = World()
    world.announcing.leads = lambda: False
    world.announcing.connected(A, ())
    world.announcing.heard({ADDRESS: "b"}, world.now)
    world.decided()
    world.announcing.leads = lambda: True
    world.announcing.reported([Daemon("b")])
    world.decided()
    world.passes(LEASE_S - 1)
    world.announcing.reported([Daemon("b")])
    world.passes(1)

    assert ([], [PACKED]) == (world.told("a"), world.told("b"))


def test_daemons_are_told_once_it_is_decided_and_published() -> None:
    """Before, who has an address would be told that it has none."""
    world = World()
    world.announcing.connected(A, ())
    withheld = [world.withheld]
    for seconds in (0, LEASE_S, 0):
        world.passes(seconds)
        withheld.append(world.withheld)

    assert [True, True, True, False] == withheld
    assert [PACKED] == world.told("a")


def test_an_address_without_a_policy_is_given_up() -> None:
    """At once, as one whose Gateway goes."""
    world = World()
    world.announcing.connected(A, (ADDRESS,))
    world.decided()
    world.put(policy("loadBalancerIPs: false"))
    world.decided()

    assert [] == world.told("a")
    assert {} == dict(world.pipeline.sources.holders)
