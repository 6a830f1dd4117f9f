"""One ADS stream: requests in, events and responses out.

Types are walled off from each other, except that they are pushed in one order and through the gates between them.
One response of a type is in flight; what changes meanwhile is found when it is answered, so there is no queue.
Must not know tasks, clocks or sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from xds_server.model.resource import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    DATAPATH,
    INTERCEPTED,
    LISTENER,
    OF_A_NODE,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.xds.detail import readable
from xds_server.xds.events import Accepted, Event, Ignored, NotItsNodeError, ProtocolError, Stale, Subscribed
from xds_server.xds.gates import REFERRING, locked, removable, unready_clusters, unsent_clusters
from xds_server.xds.resource_type import Form, Response
from xds_server.xds.resources import PUSH_ORDER, USES_SECRETS, ResourceTable
from xds_server.xds.secrets import SecretRule, permit, permitted, unserved
from xds_server.xds.subscription import WILDCARD, Group, Subscription, delta_wish, sotw_wish

SOTW_TTL_FEATURE: Final = "xds.config.supports-resource-in-sotw"
DELTA_TTL_FEATURE: Final = "supports-resource-ttl"

# So few changes go out one by one: a bad one then never takes a good one with it.
FEW: Final = 4

# Of these, however many go out one by one. Envoy says yes to bytes that it has refused before, when they come again:
# to divide a refused response would end with the bad one called accepted.
_ALONE: Final = frozenset({ROUTE_CONFIGURATION, SECRET})

# Of these, not every resource exists for every client.
_FOR_SOME: Final = OF_A_NODE | {SECRET}

_ORDER: Final = {type_url: place for place, type_url in enumerate(PUSH_ORDER)}
_LONGEST_NODE_ID: Final = 256

_OVERTAKEN: Final = (
    "more has changed since the client last answered than is remembered: it is to connect again and say what it has"
)

# Envoy waits for these again after a change of what refers to them, even if they are the same.
_WARMED: Final = frozenset({CLUSTER_LOAD_ASSIGNMENT, SECRET})


class Status(NamedTuple):
    """Of one resource, as the client has it."""

    name: str
    version: str
    state: str
    detail: str = ""


class Reading(NamedTuple):
    """Of one type: how many resources the client wants and refuses; and whether it has the newest of all others."""

    wanted: int
    refused: int
    settled: bool


class Push(NamedTuple):
    """A response, ready to be written."""

    type_url: str
    payload: bytes

    def __repr__(self) -> str:
        return f"Push({self.type_url}, {len(self.payload)} bytes)"


class AdsStream:
    """One client, from its first request on, in one of the two variants."""

    def __init__(
        self, table: ResourceTable, *, delta: bool, bound_to: str | None = None, secrets: SecretRule = permitted
    ) -> None:
        self.delta = delta
        self.bound_to = bound_to
        """Which node the client is, where its certificate tells."""
        self.node_id = ""
        self.resumed = False
        """The client brought along what an earlier stream gave it, of one type at least."""
        self._table = table
        self._form = Form(delta)
        self._subs: dict[str, Subscription] = {}
        self._ordered: list[Subscription] = []
        self._expected: dict[str, int] = {}
        """Endpoints of clusters just accepted, for which the client has not asked yet; how often that was found."""
        self._overtaken = False
        self._secrets = secrets
        self._permitted_at = -1
        """The revision up to which the rule on secrets has been looked at; -1 when the client asks for other things."""
        table.attach(self)

    def close(self) -> None:
        """Leave nothing in the table."""
        self._table.detach(self)
        if self._table.leading.get(self.node_id) is self._subs.get(INTERCEPTED):
            self._table.leading.pop(self.node_id, None)

    def floor(self) -> int:
        """The table's history after this revision may still be asked for."""
        return self._behind(Subscription.floor)

    def oldest(self) -> int:
        """As `floor`, refused and held resources too."""
        return self._behind(Subscription.oldest)

    def pinned(self) -> Iterator[ResourceKey]:
        """Resources that the client has refused, or that are held back."""
        if not self._overtaken:
            for sub in self._ordered:
                yield from sub.pinned()

    def overtake(self) -> None:
        """History that the stream needs is gone. The client's next request ends it, and the next stream compares."""
        self._overtaken = True

    def _behind(self, of: Callable[[Subscription], int]) -> int:
        if self._overtaken:
            return self._table.revision
        return min(map(of, self._ordered), default=self._table.revision)

    def receive(self, request: Any) -> list[Event]:
        """Take a parsed `DiscoveryRequest` or `DeltaDiscoveryRequest`."""
        if self._overtaken:
            raise ProtocolError(_OVERTAKEN)
        self._identify(request.node)
        type_url = request.type_url
        if not type_url:
            raise ProtocolError("type_url is empty: a request on an aggregated stream names the type it is about")
        if not self._table.known(type_url):
            return [Ignored(type_url)]
        sub = self._subs.get(type_url)
        first = sub is None
        if sub is None:
            sub = self._subscribe(type_url)
            self.resumed |= bool(request.initial_resource_versions if self.delta else request.version_info)
        self._permit()
        asked = self._asked(sub, request) if type_url in _FOR_SOME else []
        receive = self._receive_delta if self.delta else self._receive_sotw
        events = receive(sub, request, first=first)
        if type_url in _FOR_SOME:
            events += unserved(sub, asked)
        elif type_url in USES_SECRETS and any(isinstance(event, Subscribed) for event in events):
            self._permitted_at = -1
        if self._expected and type_url == CLUSTER_LOAD_ASSIGNMENT:
            self._expected = {name: times for name, times in self._expected.items() if not sub.wants(name)}
        return events

    def pending(self) -> Iterator[Push]:
        """Responses to be sent now, in this order; what has been yielded counts as sent.

        Each is made when it is asked for: a request that is read between two writes counts for all that follow.
        """
        if self._overtaken or (self.resumed and self._table.only is not None):
            return
        self._permit()
        unready: set[str] | None = None
        for sub in tuple(self._ordered):
            if sub.in_flight is not None or sub.idle() or not self._table.tells(sub.type_url):
                continue
            if unready is None and sub.type_url in REFERRING:
                unready = unready_clusters(self._table, self._subs, self._expected)
            response = self._next(sub, unready or set())
            if response is not None:
                yield Push(sub.type_url, response.payload)
                unready = None

    def heartbeat(self) -> None:
        """Prolong the life of what the client has, of types that have a time to live."""
        for sub in self._ordered:
            sub.heartbeat = self._form.ttl and bool(sub.kind.ttl_s)

    @property
    def waiting(self) -> bool:
        """Something is held back until the client has accepted something else."""
        return any(sub.waiting for sub in self._ordered)

    @property
    def in_flight(self) -> bool:
        return any(sub.in_flight for sub in self._ordered)

    def expire(self) -> int:
        """Open the gates that were closed at the last call too: better a gap for one cluster than no news at all.

        Returns how many that are.
        """
        opened = 0
        for sub in self._ordered:
            for name, times in sub.waiting.items():
                if locked(self._table, self._around(), sub, name):
                    continue
                sub.waiting[name] = times + 1
                if times and not sub.is_open(name):
                    sub.opened[name] = sub.kind.revision(name)
                    opened += 1
        self._expected = {name: times + 1 for name, times in self._expected.items() if not times}
        return opened

    def uses(self, key: ResourceKey) -> bool:
        """Whether the client has accepted the newest version of a resource."""
        sub = self._subs.get(key.type_url)
        return sub is not None and sub.uses(key.name)

    def statuses(self, type_url: str) -> Iterator[Status]:
        """Every wanted resource of a type, as the client has it."""
        sub = self._subs.get(type_url)
        if sub is None:
            return
        names = {*sub.live(), *sub.names} if sub.wildcard else set(sub.names)
        for name in sorted(names):
            if sub.wants(name):
                yield _status(sub, name)

    def readings(self) -> dict[str, Reading]:
        """Where the client is with each type."""
        return {
            sub.type_url: Reading(
                sum(1 for _ in sub.live()) if sub.wildcard else len(sub.names),
                _refused(sub),
                sub.in_flight is None and sub.idle(),
            )
            for sub in self._ordered
        }

    def parked(self) -> dict[str, int]:
        """How many resources of each type the client has refused."""
        found = {sub.type_url: _refused(sub) for sub in self._ordered}
        return {type_url: number for type_url, number in found.items() if number}

    def types(self) -> list[str]:
        return [sub.type_url for sub in self._ordered]

    def debug(self) -> dict[str, object]:
        """What the stream is about, without any content."""
        return {
            "node": self.node_id,
            "variant": "delta" if self.delta else "sotw",
            "types": {sub.type_url: _debug(sub) for sub in self._ordered},
        }

    def _identify(self, node: Any) -> None:
        """Node is promised in the first request of a stream only, and later ones change nothing."""
        if self.bound_to is not None and node.id not in ({self.bound_to, ""} if self.node_id else {self.bound_to}):
            raise NotItsNodeError(
                f"node.id is {node.id[:_LONGEST_NODE_ID]!r}, and the client certificate is that of the node "
                f"{self.bound_to!r}: the two must be the same"
            )
        if self.node_id:
            return
        if not node.id:
            raise ProtocolError("node.id is empty: the first request of a stream says which node it is from")
        if len(node.id) > _LONGEST_NODE_ID or not node.id.isprintable():
            raise ProtocolError(f"node.id is to be at most {_LONGEST_NODE_ID} printable characters")
        self.node_id = node.id
        feature = DELTA_TTL_FEATURE if self.delta else SOTW_TTL_FEATURE
        self._form = Form(self.delta, ttl=feature in node.client_features)

    def _permit(self) -> None:
        """Apply the rule on secrets, if anything has changed that it depends on."""
        secrets = self._subs.get(SECRET)
        if secrets is not None and self._permitted_at < self._table.secret_users_changed:
            self._permitted_at = self._table.secret_users_changed
            permit(secrets, self._secrets(self._table, self._subs))

    def _asked(self, sub: Subscription, request: Any) -> list[str]:
        """Names that a request is the first to ask for."""
        names = request.resource_names_subscribe if self.delta else request.resource_names
        return [name for name in names if name != WILDCARD and name not in sub.names]

    def _around(self) -> Mapping[str, Subscription]:
        """The client's own subscriptions, and to what leads to listeners that of its node's daemon."""
        daemon = self._table.leading.get(self.node_id)
        return self._subs if daemon is None or INTERCEPTED in self._subs else {INTERCEPTED: daemon, **self._subs}

    def _subscribe(self, type_url: str) -> Subscription:
        sub = Subscription(type_url, self._table.read(type_url, delta=self.delta), self._table, self.delta)
        if type_url in OF_A_NODE and self.bound_to is not None:
            sub.permitted = frozenset({self.bound_to})
        if type_url == INTERCEPTED and DATAPATH.issuperset(self._subs):
            self._table.leading[self.node_id] = sub
        self._subs[type_url] = sub
        if ROUTE_CONFIGURATION in self._subs and VIRTUAL_HOST in self._subs:
            self._subs[VIRTUAL_HOST].routes = self._subs[ROUTE_CONFIGURATION]
        self._ordered = sorted(self._subs.values(), key=lambda s: (_ORDER.get(s.type_url, len(_ORDER)), s.type_url))
        return sub

    def _receive_sotw(self, sub: Subscription, request: Any, *, first: bool) -> list[Event]:
        nonce = request.response_nonce
        # A stale nonce gets no response: the client's answer to the newest response will repeat the wish.
        # A nonce of an earlier stream means nothing here.
        if nonce and sub.number and nonce != f"{sub.number:x}":
            return [Stale(sub.type_url, nonce)]
        return [*self._answered(sub, request), *sotw_wish(sub, request, first=first)]

    def _receive_delta(self, sub: Subscription, request: Any, *, first: bool) -> list[Event]:
        nonce = request.response_nonce
        events = self._answered(sub, request)
        if nonce and sub.number and nonce != f"{sub.number:x}":
            events.append(Stale(sub.type_url, nonce))
        # The wish counts in any request: stale, accepting or refusing.
        events += delta_wish(sub, request, first=first)
        if sub.type_url == ROUTE_CONFIGURATION and request.resource_names_unsubscribe and VIRTUAL_HOST in self._subs:
            self._subs[VIRTUAL_HOST].forget_unwanted()  # dropped with their routes
        return events

    def _answered(self, sub: Subscription, request: Any) -> list[Event]:
        """A request that carries the nonce of the response in flight accepts it, or refuses it by `error_detail`."""
        in_flight = sub.in_flight
        if in_flight is None or request.response_nonce != in_flight.response.nonce:
            return []
        event: Event | None
        if request.HasField("error_detail"):
            event = sub.refuse(readable(request.error_detail.message))
        else:
            if sub.type_url == CLUSTER:
                self._expect(sub)
            if not self.delta:
                sub.accepted_version = request.version_info
            event = sub.acknowledge()
        if event is None or (isinstance(event, Accepted) and not event.versions):
            return []
        return [event]

    def _expect(self, clusters: Subscription) -> None:
        """After new clusters the client asks for their endpoints."""
        endpoints = self._subs.get(CLUSTER_LOAD_ASSIGNMENT)
        if endpoints is None or clusters.in_flight is None:
            return
        for name, version in clusters.in_flight.response.sent.items():
            entry = clusters.kind.live.get(name)
            if version is None or entry is None or clusters.holds(name):
                continue
            for ref in entry.resource.references:
                of_endpoints = ref.type_url == CLUSTER_LOAD_ASSIGNMENT and ref.name in endpoints.kind.live
                if of_endpoints and not endpoints.wants(ref.name):
                    self._expected[ref.name] = 0

    def _next(self, sub: Subscription, unready: set[str]) -> Response | None:
        selected = not sub.groups
        if selected:
            self._select(sub, unready)
        while sub.groups:
            group = sub.groups.pop(0)
            response = self._response(sub, group if selected else self._still_open(sub, group, unready))
            if response is None:
                continue
            sub.send(response, since=group.since)
            self._follow(sub, response)
            return response
        if sub.heartbeat:
            return self._heartbeat(sub)
        return None

    def _still_open(self, sub: Subscription, group: Group, unready: set[str]) -> Group:
        """What is left of a group that had to wait for its turn: it goes as it is now, so the gates are asked anew."""
        names = tuple(name for name in group.names if sub.exists(name) and sub.wants(name) and not sub.refuses(name))
        removed = tuple(name for name in group.removed if not sub.exists(name) and sub.wants(name))
        held = self._held(sub, names, removed, unready)
        for name in held:
            sub.waiting.setdefault(name, 0)
            sub.lagging.setdefault(name, group.since)
        if held:
            names = tuple(name for name in names if name not in held)
            removed = tuple(name for name in removed if name not in held)
        return Group(names, removed, group.since)

    def _select(self, sub: Subscription, unready: set[str]) -> None:
        """Decide what is to be sent, held back or left out of all that has changed or is due, and in which groups."""
        since = sub.cursor
        present, absent = _changes(sub)
        if sub.due or sub.waiting:
            more = sorted({*sub.due, *sub.waiting}.difference(present, absent))
            present = (*present, *(name for name in more if sub.exists(name)))
            absent = (*absent, *(name for name in more if not sub.exists(name)))
        held = self._held(sub, present, absent, unready)
        if sub.empty_due and any(name in sub.kind.live for name in held):
            # A first answer that is not complete would say that the rest does not exist.
            sub.waiting = {name: sub.waiting.get(name, 0) for name in held}
            return
        if held:
            present = tuple(name for name in present if name not in held)
            absent = tuple(name for name in absent if name not in held)
        if sub.parked:
            present = tuple(name for name in present if not sub.refuses(name))
        sub.waiting = {name: sub.waiting.get(name, 0) for name in held}
        sub.cursor = sub.kind.last
        sub.due.clear()
        for name in held:
            sub.lagging.setdefault(name, since)
        sub.groups = _groups(sub, present, absent, since)
        if len(sub.groups) > 1:
            for group in sub.groups:
                for name in (*group.names, *group.removed):
                    sub.lagging.setdefault(name, since)

    def _held(
        self, sub: Subscription, present: tuple[str, ...], absent: tuple[str, ...], unready: set[str]
    ) -> set[str]:
        """What a closed gate holds back."""
        subs = self._around()
        held = {name for name in absent if not removable(self._table, subs, sub, name)}
        if sub.type_url == LISTENER and (
            held or any(name not in absent and not sub.exists(name) for name in sub.waiting)
        ):
            # Envoy refuses a listener at an address that another still has: what comes waits for what goes.
            held.update(name for name in present if not sub.holds(name) and not sub.is_open(name))
        if sub.type_url in REFERRING and unready:
            for name in present:
                entry = sub.kind.get(name)
                if entry is not None and not sub.is_open(name) and not unready.isdisjoint(entry.clusters):
                    held.add(name)
        if sub.type_url == CLUSTER_LOAD_ASSIGNMENT and (unsent := unsent_clusters(self._subs)):
            held.update(
                name
                for name in present
                if not sub.is_open(name) and not unsent.isdisjoint(self._table.clusters_of(name))
            )
        return held

    def _response(self, sub: Subscription, group: Group) -> Response | None:
        names, removed = group.names, group.removed
        if sub.whole:
            sub.forget([name for name in removed if name not in sub.accepted.entries])
            removed = tuple(name for name in removed if name in sub.accepted.entries)
            if not (names or removed or sub.empty_due):
                return None
            return sub.kind.sotw_full_response(self._form, sub.accepted, names, removed, sub.number)
        if not self.delta:
            # Of these types a response may be a part, and absence means nothing: their parent drops them.
            sub.forget(group.removed)
            return sub.kind.sotw_response(self._form, names, sub.number) if names else None
        if not (names or removed or sub.empty_due):
            return None
        unresolved = _unresolved(sub, removed)
        if unresolved:
            removed = tuple(name for name in removed if name not in unresolved)
        return sub.kind.delta_response(self._form, names, removed, sub.number, unresolved)

    def _follow(self, sub: Subscription, response: Response) -> None:
        """Make due what Envoy waits for, or has thrown away, after it takes a response."""
        if sub.type_url in (CLUSTER, LISTENER):
            self._warm_again(sub, response)
        if sub.type_url == ROUTE_CONFIGURATION and self.delta and VIRTUAL_HOST in self._subs:
            self._fill_again(sub, self._subs[VIRTUAL_HOST], response)

    def _fill_again(self, routes: Subscription, hosts: Subscription, response: Response) -> None:
        """A route configuration that the client has not had, or has had with its hosts inside, begins without hosts."""
        for name, version in response.sent.items():
            if version is None:
                continue
            entry = routes.kind.live[name]
            if entry.resource.stem is None or routes.known(name) >= entry.changed:
                continue  # what is the same clears nothing
            found = self._table.hosts(name)
            hosts.due.update(found or [f"{name}/*"])
            for host in found:
                hosts.lagging.setdefault(host, 0)

    def _warm_again(self, sub: Subscription, response: Response) -> None:
        warmed = {url: other for url in _WARMED if (other := self._subs.get(url))}
        if not warmed:
            return
        for name, version in response.sent.items():
            if version is None:
                continue
            for ref in sub.kind.live[name].resource.references:
                other = warmed.get(ref.type_url)
                if other is not None and other.exists(ref.name) and other.wants(ref.name):
                    other.due.add(ref.name)

    def _heartbeat(self, sub: Subscription) -> Response | None:
        sub.heartbeat = False
        form = self._form._replace(heartbeat=True)
        names = tuple(name for name in sub.kind.live if sub.holds(name))
        if not names:
            return None
        if self.delta:
            response = sub.kind.delta_response(form, names, (), sub.number)
        elif sub.whole:
            response = sub.kind.sotw_full_response(form, sub.accepted, (), (), sub.number)
        else:
            response = sub.kind.sotw_response(form, names, sub.number)
        sub.send(response, heartbeat=True, since=sub.cursor)
        return response


def _changes(sub: Subscription) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the client wants of what has changed: that which is, and that which is no more.

    What was never there for it does not change or go either.
    """
    present, absent = sub.kind.changes(sub.cursor)
    if not sub.wants_all:
        present, absent = tuple(filter(sub.wants, present)), tuple(filter(sub.wants, absent))
    if sub.permitted is not None:
        present, absent = tuple(filter(sub.permits, present)), tuple(filter(sub.permits, absent))
    return present, absent


def _groups(sub: Subscription, present: tuple[str, ...], absent: tuple[str, ...], since: int) -> list[Group]:
    """One response for all, as a rule; few changes, and what was refused before, go alone."""
    suspects: tuple[str, ...] = ()
    if sub.parked:
        suspects = tuple(name for name in present if name in sub.parked)
        present = tuple(name for name in present if name not in sub.parked)
    most = len(present) if sub.type_url in _ALONE else FEW
    one_by_one = 1 < len(present) <= most and not sub.whole and not sub.empty_due
    if one_by_one and sub.type_url != CLUSTER_LOAD_ASSIGNMENT:
        groups = [Group((name,), (), since) for name in present]
        gone = [Group((), absent, since)] if absent else []
        # An address may move from a listener that goes to one that comes: Envoy refuses two that have the same.
        groups = [*gone, *groups] if sub.type_url == LISTENER else [*groups, *gone]
    else:
        groups = [Group(present, absent, since)] if present or absent or sub.empty_due else []
    return [*groups, *(Group((name,), (), since) for name in suspects)]


def _unresolved(sub: Subscription, removed: tuple[str, ...]) -> tuple[str, ...]:
    """Virtual hosts that were asked for one by one and never existed: answered by name and alias, without a body."""
    if sub.type_url != VIRTUAL_HOST:
        return ()
    return tuple(name for name in removed if name in sub.names and "/" in name and sub.lagging.get(name) == 0)


def _refused(sub: Subscription) -> int:
    return sub.refused.names if sub.refused and sub.withheld else len(sub.parked)


def _status(sub: Subscription, name: str) -> Status:
    entry = sub.kind.get(name) if sub.permits(name) else None
    if entry is None:
        return Status(name, "", "DOES_NOT_EXIST")
    version = entry.resource.version
    if name in sub.parked:
        return Status(name, sub.parked[name].version, "NACKED", sub.parked[name].detail)
    if sub.refused and sub.withheld:
        return Status(name, version, "NACKED", sub.refused.detail)
    if sub.holds(name) and entry.changed <= sub.known(name):
        return Status(name, version, "ACKED")
    return Status(name, version, "REQUESTED")


def _debug(sub: Subscription) -> dict[str, object]:
    return {
        "wildcard": sub.wildcard,
        "subscribed": len(sub.names),
        "table_revision": sub.kind.last,
        "sent_revision": sub.cursor,
        "accepted_revision": sub.in_flight.since if sub.in_flight else sub.cursor,
        "accepted_version": sub.accepted_version,
        "behind": len(sub.lagging),
        "waiting": sorted(sub.waiting)[:100],
        "withheld": sub.refused._asdict() if sub.refused and sub.withheld else None,
        "in_flight": sub.in_flight.response.nonce if sub.in_flight else None,
        "parked": {name: parked._asdict() for name, parked in sorted(sub.parked.items())[:100]},
    }
