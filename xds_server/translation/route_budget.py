"""How many bytes of routes one object may put into all virtual hosts together.

Its routes are written out in each virtual host that lists them, also in those of others that fall through to it: one
object of 1.4 MB that names 64 hosts would be a gigabyte. What is over the budget takes a smaller form, by steps, first
in the hosts that the object does not name itself. Nothing of this knows the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from xds_server.model.refs import ObjectRef, RouteRef
from xds_server.model.route import Route, VirtualHost
from xds_server.translation.route import EncodedRoute, refused


class Form(Enum):
    """How a route stands in a virtual host."""

    FULL = "is served"
    REFUSED = "answers 500"
    OMITTED = "is left out"


# In hosts that the object names, and in others. A rule that is refused keeps its requests from the rules after it;
# where even the matches are too long, the hosts of others go on without them.
_STEPS: Final = (
    (Form.FULL, Form.FULL),
    (Form.FULL, Form.REFUSED),
    (Form.REFUSED, Form.REFUSED),
    (Form.REFUSED, Form.OMITTED),
    (Form.OMITTED, Form.OMITTED),
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The forms of an object's routes, where they are not served in full everywhere; `message` says why."""

    hostnames: frozenset[str]
    named: Form
    others: Form
    message: str
    refused: Mapping[RouteRef, EncodedRoute] = field(repr=False)

    def form(self, hostname: str) -> Form:
        return self.named if hostname in self.hostnames else self.others


def size(encoded: EncodedRoute | None) -> int:
    if encoded is None:
        return 0
    return len(encoded.body) + (len(encoded.preflight.body) if encoded.preflight is not None else 0)


def allowance(
    source: ObjectRef,
    routes: Mapping[RouteRef, Route],
    full: Mapping[RouteRef, int],
    hosts: Iterable[VirtualHost],
    budget: int,
) -> Allowance | None:
    """None within the budget; `full` are the sizes of the routes, `hosts` those that list any of them."""
    hostnames = frozenset(hostname for route in routes.values() for hostname in route.written_hostnames)
    named, others = dict.fromkeys(routes, 0), dict.fromkeys(routes, 0)
    count = 0
    for host in hosts:
        count += 1
        listed = named if host.ref.hostname in hostnames else others
        for ref in _listed(host, source, routes):
            listed[ref] += 1
    total = sum(full[ref] * (named[ref] + others[ref]) for ref in full)
    if total <= budget:
        return None
    answers = {ref: answer for ref, route in routes.items() if (answer := refused(route)) is not None}
    small = {ref: size(answer) for ref, answer in answers.items()}
    sizes: dict[Form, Mapping[RouteRef, int]] = {Form.FULL: full, Form.REFUSED: small, Form.OMITTED: {}}

    def cost(in_named: Form, in_others: Form) -> int:
        return sum(
            sizes[in_named].get(ref, 0) * named[ref] + sizes[in_others].get(ref, 0) * others[ref] for ref in routes
        )

    in_named, in_others = next(step for step in _STEPS if cost(*step) <= budget)
    message = (
        f"{source}: its routes take {total} bytes in {count} virtual hosts, more than {budget}; it {in_named.value} "
        f"for the hostnames that it names, and {in_others.value} for others. "
        "Shorten its matches and filters, or name fewer hostnames and parents"
    )
    return Allowance(hostnames, in_named, in_others, message, answers)


def _listed(host: VirtualHost, source: ObjectRef, routes: Mapping[RouteRef, Route]) -> Iterator[RouteRef]:
    """Those of the object; a virtual host that redirects everything to HTTPS has none."""
    return (ref for ref in host.routes if ref.source == source and ref in routes and not host.force_https)
