"""Virtual hosts: the routes of one hostname of one table, gathered from every attachment that reaches it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xds_server.graph import Collection, Fetch, Index
from xds_server.ingestion.hostnames import wildcards
from xds_server.ingestion.precedence import Ranking, in_order
from xds_server.model.listener import Attachment
from xds_server.model.refs import HostRef, ListenerRef, ObjectRef, RouteRef
from xds_server.model.route import Forward, Route, TlsRoute, VirtualHost

AttachmentKey = tuple[ObjectRef, ListenerRef]
AttachmentsByHost = Index[HostRef, AttachmentKey, Attachment]
Rankings = Collection[ObjectRef, Ranking]


def attachment_key(attachment: Attachment) -> AttachmentKey:
    """By source and listener; a listener's attachment to itself is its parent's, so that keys can be sorted."""
    return attachment.source or attachment.listener.parent, attachment.listener


def hosts_of(attachment: Attachment) -> Iterator[HostRef]:
    return (HostRef(attachment.table, hostname, attachment.clients) for hostname in attachment.hostnames)


def sources_of(
    fetch: Fetch, attachments: AttachmentsByHost, ref: HostRef, own: Sequence[Attachment]
) -> list[ObjectRef]:
    """The route objects that may get requests for a hostname.

    Those attached to the hostname itself, and those of the same listener under each wildcard that covers it:
    a request that the better hostname's rules do not match falls through to them.
    """
    listeners = {attachment.listener for attachment in own}
    found = [attachment.source for attachment in own]
    for wildcard in wildcards(ref.hostname):
        for attachment in fetch.by(attachments, HostRef(ref.table, wildcard)):
            found += [attachment.source] if attachment.listener in listeners else []
    return [source for source in dict.fromkeys(found) if source is not None]


def routes_in_order(
    fetch: Fetch, attachments: AttachmentsByHost, rankings: Rankings, ref: HostRef, own: Sequence[Attachment]
) -> list[RouteRef]:
    """Every route for a hostname, the first to be tried first."""
    found = (fetch.get(rankings, source) for source in sources_of(fetch, attachments, ref, own))
    return in_order(ref.hostname, (ranking for ranking in found if ranking is not None))


def virtual_host(
    fetch: Fetch, attachments: AttachmentsByHost, rankings: Rankings, ref: HostRef, own: Sequence[Attachment]
) -> VirtualHost:
    return VirtualHost(ref, tuple(routes_in_order(fetch, attachments, rankings, ref, own)))


def tls_route(
    fetch: Fetch,
    attachments: AttachmentsByHost,
    rankings: Rankings,
    rules: Collection[RouteRef, Route],
    ref: HostRef,
    own: Sequence[Attachment],
) -> TlsRoute | None:
    """The first TLSRoute of a hostname: nothing in a connection but its SNI could choose between two."""
    for first in routes_in_order(fetch, attachments, rankings, ref, own):
        route = fetch.get(rules, first)
        if route is not None and isinstance(route.action, Forward):
            return TlsRoute(ref, first, route.action.backends)
    return None
