"""S1: no reference crosses a namespace without a grant there, of exactly the right shape, for exactly as long as it lives."""

# ruff: noqa: E501  # a manifest on one line reads better than one broken by Python

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

from tests.unit.ingestion import tls
from tests.unit.ingestion.world import World, service

GROUP: Final = "gateway.networking.k8s.io"


def grant(from_: str, to: str, namespace: str = "vault", name: str = "g") -> str:
    return f"""
kind: ReferenceGrant
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{from: [{from_}], to: [{to}]}}
"""


def gateway(certificate: str = "") -> str:
    https = (
        f", {{name: x, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{certificate}]}}}}" if certificate else ""
    )
    listeners = (
        "{name: http, port: 80, protocol: HTTP}, {name: tls, port: 444, protocol: TLS, tls: {mode: Passthrough}}"
    )
    return f"""
kind: Gateway
metadata: {{name: web}}
spec: {{gatewayClassName: tidegate, listeners: [{listeners}{https}]}}
"""


def route(kind: str, rule: str) -> str:
    return f"""
kind: {kind}
metadata: {{name: r}}
spec: {{parentRefs: [{{name: web}}], rules: [{{{rule}}}]}}
"""


class Case(NamedTuple):
    """A kind of reference: what it comes from and names, the manifest that holds it, and who tells of it."""

    from_kind: str
    to_kind: str
    to_name: str
    manifest: str
    reason: Callable[[World], str]


def of_route(kind: str) -> Callable[[World], str]:
    def reason(world: World) -> str:
        return world.reason("ResolvedRefs", kind, "r")

    return reason


BACKEND = "{name: app, namespace: vault, port: 80}"
CASES = {
    "HTTPRoute backend": Case(
        "HTTPRoute", "Service", "app", route("HTTPRoute", f"backendRefs: [{BACKEND}]"), of_route("HTTPRoute")
    ),
    "HTTPRoute mirror": Case(
        "HTTPRoute",
        "Service",
        "app",
        route("HTTPRoute", f"filters: [{{type: RequestMirror, requestMirror: {{backendRef: {BACKEND}}}}}]"),
        of_route("HTTPRoute"),
    ),
    "GRPCRoute backend": Case(
        "GRPCRoute", "Service", "app", route("GRPCRoute", f"backendRefs: [{BACKEND}]"), of_route("GRPCRoute")
    ),
    "TLSRoute backend": Case(
        "TLSRoute", "Service", "app", route("TLSRoute", f"backendRefs: [{BACKEND}]"), of_route("TLSRoute")
    ),
    "Gateway certificate": Case(
        "Gateway",
        "Secret",
        "pair",
        gateway("{name: pair, namespace: vault}"),
        lambda world: world.reason("ResolvedRefs", "Gateway", "web", "x"),
    ),
    "Gateway client certificate": Case(
        "Gateway",
        "Secret",
        "pair",
        gateway().replace(
            "listeners:", "tls: {backend: {clientCertificateRef: {name: pair, namespace: vault}}}, listeners:"
        ),
        lambda world: world.reason("ResolvedRefs", "Gateway", "web"),
    ),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def world(case: Case, *grants: str) -> World:
    """The target exists in `vault`, and one of the same name in the referrer's own namespace."""
    targets = [service("app", namespace="vault"), service("app"), tls.secret("pair", "vault"), tls.secret("pair")]
    return World(gateway(), case.manifest, *targets, *grants)


def right(case: Case, name: str = "") -> str:
    to_name = f", name: {name}" if name else ""
    return grant(
        f"{{group: {GROUP}, kind: {case.from_kind}, namespace: default}}",
        f"{{group: '', kind: {case.to_kind}{to_name}}}",
    )


def served_of_vault(world: World) -> list[str]:
    """What of the other namespace would be sent to Envoy."""
    clusters = [ref.service for ref in world.ingested.clusters if ref.namespace == "vault"]
    return clusters + [ref.name for ref in world.ingested.certificates if ref.namespace == "vault"]


@cases
def test_without_a_grant_nothing_crosses(case: Case) -> None:
    """S1: RefNotPermitted, and nothing of the other namespace is served."""
    found = world(case)

    assert ("False/RefNotPermitted", []) == (case.reason(found), served_of_vault(found))


@cases
def test_without_a_grant_nobody_learns_what_exists(case: Case) -> None:
    """S1: what is missing in another namespace is told in the same words as what is there."""
    there, missing = world(case), World(gateway(), case.manifest)

    assert case.reason(there) == case.reason(missing) == "False/RefNotPermitted"


@cases
@pytest.mark.parametrize("named", [False, True])
def test_the_right_grant_lets_it_pass(case: Case, named: bool) -> None:
    """S1: a grant for every name, or for this one."""
    assert "True/ResolvedRefs" == case.reason(world(case, right(case, case.to_name if named else "")))


@cases
@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("kind: {from_kind}", "kind: UDPRoute"),
        ("namespace: default", "namespace: defaults"),
        ("namespace: default", "namespace: vault"),
        (f"group: {GROUP}", "group: ''"),
        ("kind: {to_kind}", "kind: ConfigMap"),
        ("group: ''", "group: core"),
        ("name: {to_name}", "name: other"),
        ("name: {to_name}", "name: '*'"),
        ("namespace: vault", "namespace: default"),
    ],
)
def test_a_grant_that_is_wrong_in_one_word_lets_nothing_pass(case: Case, field: str, wrong: str) -> None:
    """S1: kind, namespace, group and name must each be right, and the grant must be where the target is."""
    written = right(case, case.to_name)
    mistaken = written.replace(field.format(**case._asdict()), wrong)
    found = world(case, mistaken)

    assert written != mistaken
    assert ("False/RefNotPermitted", []) == (case.reason(found), served_of_vault(found))


@cases
def test_a_grant_that_is_revoked_takes_effect_at_once_and_may_come_again(case: Case) -> None:
    """S1: revoked live, re-added, with the very next commit."""
    found = world(case)
    edits: list[Callable[[], World]] = [
        lambda: found.apply(right(case)),
        lambda: found.delete("ReferenceGrant", "g", "vault"),
        lambda: found.apply(right(case, case.to_name)),
        lambda: found.apply(right(case, "other")),
    ]
    seen = [case.reason(edit()).split("/")[0] for edit in edits]

    assert ["True", "False", "True", "False"] == seen
    assert [] == served_of_vault(found)


@cases
def test_the_same_name_in_the_own_namespace_is_not_taken_instead(case: Case) -> None:
    """S1: a reference that may not cross does not fall back to a namesake."""
    found = world(case)

    assert {} == dict(found.ingested.clusters)
    assert {} == dict(found.ingested.certificates)


def test_another_grant_in_the_namespace_changes_nothing_else() -> None:
    """Work per change: a grant that decides on other references does not run this route again."""
    case = CASES["HTTPRoute backend"]
    found = world(case, right(case))
    found.apply(
        grant(f"{{group: {GROUP}, kind: HTTPRoute, namespace: elsewhere}}", "{group: '', kind: Service}", name="h")
    )

    assert {"reference_grants": 1} == found.changed
