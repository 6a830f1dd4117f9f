"""Every right that the chart gives is used, and none is missing: the table follows the kinds that the code reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.helm import NAMESPACE, Object, named, objects, rendered
from xds_server.kube.kinds import KINDS, REFERENCED

Right = tuple[str, str, str, str]  # group, resource, name or "", verb

READ = ("list", "watch")

# What the code does besides reading KINDS and writing their status, and where.
EVERYWHERE: set[Right] = {
    ("authentication.k8s.io", "tokenreviews", "", "create"),
    *(("tidegate.dev", "gatewayparameters", "", verb) for verb in READ),
    *(("tidegate.dev", "loadbalancerippools", "", verb) for verb in ("get", *READ)),
    ("tidegate.dev", "loadbalancerippools/status", "", "patch"),
    *(("cilium.io", "ciliumloadbalancerippools", "", verb) for verb in ("get", *READ)),
    ("cilium.io", "ciliumloadbalancerippools/status", "", "patch"),
}
AT_HOME: set[Right] = {
    ("coordination.k8s.io", "leases", "", "create"),
    *(("coordination.k8s.io", "leases", "tidegate-controller", verb) for verb in ("get", "update")),
}
EXPOSURE: set[Right] = {
    (group, plural, "", verb)
    for group, plural in (("", "services"), ("discovery.k8s.io", "endpointslices"))
    for verb in ("get", "create", "patch", "delete")
}
CERTIFICATES: set[Right] = {
    *(("", resource, "", "create") for resource in ("secrets", "configmaps")),
    *(
        ("", "secrets", name, verb)
        for name in ("tidegate-ca", "tidegate-xds-server", "tidegate-operator-admin")
        for verb in ("get", "update")
    ),
    *(("", "configmaps", "tidegate-ca", verb) for verb in ("get", "update")),
}
REFERENCES: set[Right] = {(kind.group, kind.plural, "", verb) for kind in REFERENCED for verb in READ}


EVERYTHING = {"cilium": {"addressPools": True}, "datapath": {"enabled": True}}


def rights(role: Object) -> Iterator[Right]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    yield from ((group, resource, name, verb) for verb in rule["verbs"])


def given(found: list[Object], kind: str, name: str) -> set[Right]:
    """The rights of a role, none of which it may give twice."""
    listed = list(rights(named(found, kind, name)))

    assert len(set(listed)) == len(listed)
    return set(listed)


def of_kinds() -> set[Right]:
    """A write of status that meets a newer version reads the object again."""
    reads = {(kind.group, kind.plural, "", verb) for kind in KINDS for verb in READ}
    written = [kind for kind in KINDS if kind.writes_status]
    again = {(kind.group, kind.plural, "", "get") for kind in written}
    return reads | again | {(kind.group, f"{kind.plural}/status", "", "patch") for kind in written}


def test_the_controller_may_read_its_kinds_and_write_their_status_and_no_more() -> None:
    """The ClusterRole is what KINDS says, and the table above."""
    found = given(objects(rendered(EVERYTHING)), "ClusterRole", "tidegate-controller")

    assert of_kinds() | EVERYWHERE == found


@pytest.mark.parametrize("reads", [False, True])
def test_pools_of_cilium_are_read_by_who_may(reads: bool) -> None:
    """By default not: what the controller is told to list is what it has the right to."""
    found = objects(rendered({**EVERYTHING, "cilium": {"addressPools": reads}}))
    role = given(found, "ClusterRole", "tidegate-controller")
    [container] = named(found, "Deployment", "tidegate-controller")["spec"]["template"]["spec"]["containers"]

    assert (set() if reads else {"cilium.io"}) == {group for group, *_ in (of_kinds() | EVERYWHERE) - role}
    assert reads == ("--cilium-pools" in container["args"])


@pytest.mark.parametrize("enabled", [False, True])
def test_pods_are_read_where_nodes_have_a_daemon(enabled: bool) -> None:
    """By default not: there are many, and only daemons are told of them."""
    found = objects(rendered({**EVERYTHING, "datapath": {"enabled": enabled}}))
    role = given(found, "ClusterRole", "tidegate-controller")
    [container] = named(found, "Deployment", "tidegate-controller")["spec"]["template"]["spec"]["containers"]
    lacking = {plural.partition("/")[0] for _, plural, *_ in (of_kinds() | EVERYWHERE) - role}

    of_daemons = {kind.plural for kind in KINDS if kind.datapath}
    assert (set() if enabled else of_daemons) == lacking
    assert enabled == ("--datapath" in container["args"])


def test_ports_of_the_nodes_are_given_away_by_a_flag() -> None:
    """None by default."""
    told = []
    for values in ({}, {"exposure": {"hostPorts": ["80", "8000-8999"]}}):
        deployment = named(objects(rendered(values)), "Deployment", "tidegate-controller")
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        told.append([argument for argument in container["args"] if argument.startswith("--host-ports")])

    assert [[], ["--host-ports=80,8000-8999"]] == told


def test_the_lease_is_written_at_home() -> None:
    """It is in the namespace of the installation alone."""
    assert AT_HOME == given(objects(rendered()), "Role", "tidegate-controller")


def test_secrets_are_read_and_never_written_by_the_controller() -> None:
    """Secrets and ConfigMaps: all, by a role of their own that a cluster's owner may narrow."""
    assert REFERENCES == given(objects(rendered()), "ClusterRole", "tidegate-secrets")


def test_secrets_of_named_namespaces_alone() -> None:
    """`secrets.namespaces` gives a Role in each, and no right to any other namespace's."""
    found = objects(rendered({"secrets": {"namespaces": ["bank", "shop"]}}))
    roles = [o for o in found if o["kind"] == "Role" and o["metadata"]["name"] == "tidegate-secrets"]
    everywhere = {right for o in found if o["kind"] == "ClusterRole" for right in rights(o)}

    assert ["bank", "shop"] == [role["metadata"]["namespace"] for role in roles]
    assert [REFERENCES] * 2 == [set(rights(role)) for role in roles]
    assert set() == everywhere & REFERENCES


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {("ClusterRole", None)}),
        ({"namespaces": ["edge", "shop"]}, {("Role", "edge"), ("Role", "shop")}),
        ({"services": False}, set()),
    ],
)
def test_services_are_made_everywhere_or_where_it_is_said_or_nowhere(
    values: dict[str, Any], expected: set[tuple[str, str | None]]
) -> None:
    """`exposure` gives the right to make Services and their EndpointSlices, and no role else has it."""
    roles = [o for o in objects(rendered({"exposure": values})) if "rules" in o]
    exposing = [o for o in roles if EXPOSURE & set(rights(o))]

    assert expected == {(o["kind"], o["metadata"].get("namespace")) for o in exposing}
    assert [] == [o for o in exposing if EXPOSURE != set(rights(o))]


def test_the_certificates_job_may_write_its_secrets_alone() -> None:
    """It reads and changes the Secrets and the ConfigMap that it makes, by name."""
    assert CERTIFICATES == given(objects(rendered()), "Role", "tidegate-certificates")


@pytest.mark.parametrize("values", [{}, {"secrets": {"namespaces": ["shop"]}}])
def test_every_role_is_bound_to_one_account_of_ours(values: dict[str, Any]) -> None:
    """Each role has a binding of its name, whose one subject is an account that a workload of the chart uses."""
    found = objects(rendered(values))
    identity = ("kind", "name")
    roles = {(o["metadata"].get("namespace"), o["kind"], o["metadata"]["name"]) for o in found if "rules" in o}
    bindings = [o for o in found if o["kind"].endswith("RoleBinding")]
    accounts = {o["metadata"]["name"] for o in found if o["kind"] == "ServiceAccount"}

    assert roles == {(o["metadata"].get("namespace"), *(o["roleRef"][key] for key in identity)) for o in bindings}
    assert {("ServiceAccount", NAMESPACE)} == {
        (subject["kind"], subject["namespace"]) for o in bindings for subject in o["subjects"]
    }
    assert {subject["name"] for o in bindings for subject in o["subjects"]} <= accounts
    assert all(len(o["subjects"]) == 1 for o in bindings)


@pytest.mark.parametrize(("name", "enabled"), [("tidegate-proxy", False), ("tidegate-node", True)])
def test_the_proxy_has_no_right_at_the_api_server(name: str, enabled: bool) -> None:
    """S11: whoever takes a proxy, or the daemon of a node, over has no token for the API server."""
    found = objects(rendered({"datapath": {"enabled": enabled}}))
    pod = named(found, "DaemonSet", name)["spec"]["template"]["spec"]
    account = named(found, "ServiceAccount", name)
    subjects = {subject["name"] for o in found if o["kind"].endswith("RoleBinding") for subject in o["subjects"]}

    assert (name, False, False) == (
        pod["serviceAccountName"], pod["automountServiceAccountToken"], account["automountServiceAccountToken"],
    )  # fmt: skip
    assert name not in subjects
