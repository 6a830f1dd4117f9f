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
    OF_A_NODE,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
    ResourceKey,
)
from xds_server.xds.detail import readable
from xds_server.xds.events import Accepted, Event, Ignored, NotItsNodeError, ProtocolError, Stale, Subscribed
from xds_server.xds.gates import REFERRING, locked, unready_clusters
from xds_server.xds.readings import Reading, Status, debug, reading, refused, status
from xds_server.xds.resource_type import Form
from xds_server.xds.resources import PUSH_ORDER, USES_SECRETS, ResourceTable
from xds_server.xds.secrets import SecretRule, permit, permitted, unserved
from xds_server.xds.sending import Sending
from xds_server.xds.subscription import WILDCARD, Subscription
from xds_server.xds.wishes import delta_wish, sotw_wish

SOTW_TTL_FEATURE: Final = "xds.config.supports-resource-in-sotw"
DELTA_TTL_FEATURE: Final = "supports-resource-ttl"

# Of these, not every resource exists for every client.
_FOR_SOME: Final = OF_A_NODE | {SECRET}

_ORDER: Final = {type_url: place for place, type_url in enumerate(PUSH_ORDER)}
_LONGEST_NODE_ID: Final = 256

OVERTAKEN: Final = (
    "more has changed since the client last answered than is remembered: it is to connect again and say what it has"
)


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
        self.overtaken = False
        """History that the stream needs is gone: it is to end, and the next one compares."""
        self._table = table
        self._subs: dict[str, Subscription] = {}
        self._sending = Sending(table, self._subs, Form(delta))
        self._ordered: list[Subscription] = []
        self._expected: dict[str, int] = {}
        """Endpoints of clusters just accepted, for which the client has not asked yet; how often that was found."""
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
        if not self.overtaken:
            for sub in self._ordered:
                yield from sub.pinned()

    def overtake(self) -> None:
        """Say so."""
        self.overtaken = True

    def _behind(self, of: Callable[[Subscription], int]) -> int:
        if self.overtaken:
            return self._table.revision
        return min(map(of, self._ordered), default=self._table.revision)

    def receive(self, request: Any) -> list[Event]:
        """Take a parsed `DiscoveryRequest` or `DeltaDiscoveryRequest`."""
        if self.overtaken:
            raise ProtocolError(OVERTAKEN)
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
            self.resumed |= self.brings(request)
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

    def resumes(self, request: Any) -> bool:
        """Whether a request brings along what an earlier stream gave; it is then compared with what there is."""
        return request.type_url not in self._subs and self.brings(request)

    def brings(self, request: Any) -> bool:
        return bool(request.initial_resource_versions if self.delta else request.version_info)

    def pending(self) -> Iterator[Push]:
        """Responses to be sent now, in this order; what has been yielded counts as sent.

        Each is made when it is asked for: a request that is read between two writes counts for all that follow.
        """
        if self.overtaken:
            return
        self._permit()
        unready: set[str] | None = None
        for sub in tuple(self._ordered):
            if sub.in_flight is not None or sub.idle() or not self._table.tells(sub.type_url):
                continue
            if unready is None and sub.type_url in REFERRING:
                unready = unready_clusters(self._table, self._subs, self._expected)
            response = self._sending.next(sub, self._around(), unready or set())
            if response is not None:
                yield Push(sub.type_url, response.payload)
                unready = None

    def heartbeat(self) -> None:
        """Prolong the life of what the client has, of types that have a time to live."""
        for sub in self._ordered:
            sub.heartbeat = self._sending.form.ttl and bool(sub.kind.ttl_s)

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
                yield status(sub, name)

    def readings(self) -> dict[str, Reading]:
        """Where the client is with each type."""
        return {sub.type_url: reading(sub) for sub in self._ordered}

    def parked(self) -> dict[str, int]:
        """How many resources of each type the client has refused."""
        found = {sub.type_url: refused(sub) for sub in self._ordered}
        return {type_url: number for type_url, number in found.items() if number}

    def types(self) -> list[str]:
        return [sub.type_url for sub in self._ordered]

    def debug(self) -> dict[str, object]:
        """What the stream is about, without any content."""
        return {
            "node": self.node_id,
            "variant": "delta" if self.delta else "sotw",
            "types": {sub.type_url: debug(sub) for sub in self._ordered},
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
        self._sending.form = Form(self.delta, ttl=feature in node.client_features)

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
