"""Which secrets a stream may have: those that something uses which the stream is served, and no other.

A key is for the proxies that terminate TLS with it. What a client names counts for nothing: a secret that no listener
or cluster refers to, of those that this stream asks for, does not exist for it, whether it does for others or not.
Must not know how a response is phrased, nor who the client is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from xds_server.xds.events import Event, Unserved
from xds_server.xds.resources import USES_SECRETS, ResourceTable
from xds_server.xds.subscription import Subscription

_SHOWN: Final = 3
_LONGEST_SHOWN: Final = 128


SecretRule = Callable[[ResourceTable, Mapping[str, Subscription]], frozenset[str] | None]
"""Names of the secrets that there are for a client; None is all."""


def permitted(table: ResourceTable, subs: Mapping[str, Subscription]) -> frozenset[str]:
    """Names of secrets that are used by what the table has and the client asks for."""
    if all(url in subs and subs[url].wildcard for url in USES_SECRETS):
        return table.secrets_in_use()
    return frozenset(
        name
        for name, users in table.secret_users.items()
        if any((sub := subs.get(user.type_url)) is not None and sub.wants(user.name) for user in users)
    )


def permit(secrets: Subscription, names: frozenset[str] | None) -> None:
    """Narrow or widen what there is for the client: news are sent, and what is no longer served is withdrawn."""
    before, secrets.permitted = secrets.permitted or frozenset(), names
    if names is None:
        return
    for name in filter(secrets.wants, before ^ names):
        secrets.due.add(name)
        if name in names:
            secrets.lagging[name] = 0
            secrets.parked.pop(name, None)


def unserved(sub: Subscription, asked: Iterable[str]) -> list[Event]:
    """What of the names that a request asks for does not exist for the client."""
    names = [name for name in asked if not sub.permits(name)]
    if not names:
        return []
    shown = tuple(name[:_LONGEST_SHOWN] for name in sorted(names)[:_SHOWN])
    return [Unserved(sub.type_url, len(names), shown)]
