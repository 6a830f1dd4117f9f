"""The command as its users and their scripts see it: exit codes, JSON forms, errors that name the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.featuretests.manifests import GATEWAY, ROUTE, SERVICE
from xds_server.cli import main

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations: {ingress.tidegate.dev/loadbalancer-mode: shared, ingress.tidegate.dev/colour: blue}
spec:
  ingressClassName: tidegate
  rules: [{http: {paths: [{path: /shop, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
"""
CONDITION = {"kind", "namespace", "name", "parent", "section", "type", "status", "reason", "message"}
RESULT = {
    "parent", "address", "outcome", "status", "listener", "route", "rule", "match",
    "cluster", "backends", "endpoints", "location",
}  # fmt: skip


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = tmp_path / "manifests"
    folder.mkdir()
    for name, text in (("gateway", GATEWAY), ("route", ROUTE), ("service", SERVICE), ("ingress", INGRESS)):
        (folder / f"{name}.yaml").write_text(text)
    return folder


class Command:
    """Runs the command in this process; `text` and `error` are what it printed last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self.text, self.error = capsys, "", ""

    def __call__(self, *arguments: str | Path) -> int:
        code = main([str(argument) for argument in arguments])
        self.text, self.error = self._capsys.readouterr()
        return code

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@pytest.fixture
def tidegate(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_check_gives_the_promised_form(tidegate: Command, manifests: Path) -> None:
    """`check -o json` has conditions and warnings with the documented keys, and says nothing of Programmed."""
    code = tidegate("check", "-f", manifests, "-o", "json")

    assert 0 == code
    assert {"conditions", "warnings", "problems", "addresses"} == tidegate.json.keys()
    assert all(CONDITION == condition.keys() for condition in tidegate.json["conditions"])
    assert "Programmed" not in {condition["type"] for condition in tidegate.json["conditions"]}
    [warning] = tidegate.json["warnings"]
    assert ("Ingress", "shop") == (warning["kind"], warning["name"])


def test_check_sees_the_mesh_where_there_is_one(tidegate: Command, manifests: Path) -> None:
    """With --datapath a route has conditions at its Service, and a wish that nobody can understand is told."""
    (manifests / "mesh.yaml").write_text(
        """
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {tidegate.dev/preserve-client-ip: perhaps}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{group: "", kind: Service, name: shop}], rules: [{backendRefs: [{name: shop, port: 80}]}]}
"""
    )
    told = []
    for more in ((), ("--datapath",)):
        tidegate("check", "-f", manifests, *more)
        told.append(
            [
                "Service/default/shop: Accepted=True" in tidegate.text,
                "metadata.annotations[tidegate.dev/preserve-client-ip]: neither true nor false" in tidegate.text,
            ]
        )

    assert [[False, False], [True, True]] == told


def test_check_names_addresses(tidegate: Command, manifests: Path) -> None:
    """Each frontend has an address of its own; the shared Ingresses are one entry."""
    tidegate("check", "-f", manifests, "-o", "json", "--port-offset", "10000")

    entries = tidegate.json["addresses"]
    assert [("Gateway", "web", [10080]), ("SharedIngress", "shared", [10080])] == [
        (e["kind"], e["name"], e["ports"]) for e in entries
    ]
    assert 2 == len({address for entry in entries for address in entry["addresses"]})


def test_check_names_ports_of_bytes_and_datagrams(tidegate: Command, project: Path) -> None:
    """Which the kernel serves: a firewall is opened by what is printed."""
    world = project / "tests/golden/mesh/transports.in.yaml"
    tidegate("check", "--datapath", "-f", world, "-o", "json")
    [edge] = [each for each in tidegate.json["addresses"] if each["name"] == "edge"]
    tidegate("check", "--datapath", "-f", world)

    assert ([53, 80], [53]) == (edge["ports"], edge["udp_ports"])
    assert "ports 53, 80, 53/UDP" in tidegate.text


def test_addresses_are_the_same_in_another_process(tidegate: Command, manifests: Path) -> None:
    """An address depends on the object's name, not on when or in whose company it is asked for."""
    tidegate("check", "-f", manifests, "-o", "json")
    before = tidegate.json["addresses"][0]
    (manifests / "route.yaml").unlink()
    (manifests / "other.yaml").write_text(GATEWAY.replace("name: web}", "name: another}"))
    tidegate("check", "-f", manifests, "-o", "json")

    assert before == next(e for e in tidegate.json["addresses"] if e["name"] == "web")


def test_check_fails_when_a_reference_does_not_resolve(tidegate: Command, manifests: Path) -> None:
    """A missing Service is exit code 1 and a condition that names it."""
    (manifests / "service.yaml").unlink()

    code = tidegate("check", "-f", manifests)

    assert 1 == code
    assert (
        "ResolvedRefs=False BackendNotFound: rules[0].backendRefs[0]: Service/default/web does not exist"
        in tidegate.text
    )
    assert f"HTTPRoute/default/web ({manifests / 'route.yaml'}:2)" in tidegate.text


def test_check_fails_when_a_parent_does_not_exist(tidegate: Command, manifests: Path) -> None:
    """A typo in a parentRef is exit code 1, though the specification has no condition for it."""
    (manifests / "route.yaml").write_text(ROUTE.replace("parentRefs: [{name: web}]", "parentRefs: [{name: wev}]"))

    code = tidegate("check", "-f", manifests)

    assert 1 == code
    assert "Gateway/default/wev does not exist" in tidegate.text


def test_explain_says_what_is_wrong_with_the_route(tidegate: Command, manifests: Path) -> None:
    """Where Envoy answers by itself, the conditions of the route say why."""
    (manifests / "service.yaml").unlink()

    tidegate("explain", "-f", manifests, "GET", "http://a/", "--parent", "Gateway/default/web", "-o", "json")

    [result] = tidegate.json["results"]
    assert 500 == result["status"]
    assert [
        "ResolvedRefs=False BackendNotFound: rules[0].backendRefs[0]: Service/default/web does not exist"
    ] == result["conditions"]


def test_explain_knows_which_parents_there_are(tidegate: Command, manifests: Path) -> None:
    """A parent that is not served is wrong usage, with a suggestion."""
    code = tidegate("explain", "-f", manifests, "GET", "http://a/", "--parent", "gateway/default/web")

    assert (2, True) == (code, "did you mean Gateway/default/web?" in tidegate.error)


def test_a_directory_without_manifests_is_wrong_usage(tidegate: Command, tmp_path: Path) -> None:
    """Nothing to read is more likely a wrong path than a wish."""
    code = tidegate("check", "-f", tmp_path)

    assert (2, True) == (code, "no manifest in it" in tidegate.error)


def test_check_fails_when_an_address_cannot_be_had(tidegate: Command, manifests: Path) -> None:
    """A static address outside the pool is exit code 1, and is named."""
    text = GATEWAY.replace("listeners:", "addresses: [{value: 192.0.2.1}]\n  listeners:")
    (manifests / "gateway.yaml").write_text(text)

    code = tidegate("check", "-f", manifests)

    assert 1 == code
    assert "Gateway/default/web has no address:" in tidegate.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: [unclosed", "bad.yaml:"),
        (ROUTE.replace("rules", "rulez"), "bad.yaml:7: HTTPRoute default/web: spec.rulez"),
        (SERVICE.replace("port: 80}", 'port: "eighty"}'), "bad.yaml:5: Service default/web: spec.ports[0].port"),
        ("apiVersion: v1\nkind: Sevice\nmetadata: {name: x}", "bad.yaml:2"),
    ],
)
def test_check_names_file_line_and_field(tidegate: Command, tmp_path: Path, text: str, expected: str) -> None:
    """What cannot be read is exit code 1 with its place; the text form and the JSON form both say it."""
    (tmp_path / "bad.yaml").write_text(text)

    codes = tidegate("check", "-f", tmp_path), tidegate("check", "-f", tmp_path, "-o", "json")

    assert (1, 1) == codes
    assert any(expected in problem["text"] for problem in tidegate.json["problems"])


def test_explain_gives_the_promised_form(tidegate: Command, manifests: Path) -> None:
    """`explain -o json` has a result for each address that listens on the port, with the documented keys."""
    code = tidegate("explain", "-f", manifests, "GET", "http://web.example.com/shop", "-o", "json")

    results = {result["parent"].partition("/")[0]: result for result in tidegate.json["results"]}
    assert 0 == code
    assert all(RESULT <= result.keys() for result in results.values())
    assert ["Gateway", "SharedIngress"] == sorted(results)
    gateway = results["Gateway"]
    assert ("route", {"kind": "HTTPRoute", "namespace": "default", "name": "web"}, ["127.90.1.1:8080"]) == (
        gateway["outcome"],
        gateway["route"],
        gateway["endpoints"],
    )
    [backend] = gateway["backends"]
    assert ("default/web", 80) == (backend["service"], backend["port"])


def test_explain_at_a_shared_ingress(tidegate: Command, manifests: Path) -> None:
    """`--parent Ingress/...` finds the frontend that it shares."""
    url, parent = "http://web.example.com/shop/1", "Ingress/default/shop"
    tidegate("explain", "-f", manifests, "GET", url, "--parent", parent, "-o", "json")

    [result] = tidegate.json["results"]
    assert ("Ingress/default/shop", "route", "shop") == (result["parent"], result["outcome"], result["route"]["name"])


def test_explain_names_the_route_that_passes_bytes_on(tidegate: Command, project: Path) -> None:
    """A TLS connection that Envoy does not end has a route and backends too."""
    example, parent = project / "examples" / "bookinfo", "Gateway/default/passthrough-gateway"
    tidegate("explain", "-f", example, "GET", "https://nginx.cilium.rocks/", "--parent", parent, "-o", "json")

    [result] = tidegate.json["results"]
    assert ("passthrough", {"kind": "TLSRoute", "namespace": "default", "name": "nginx"}, "default/my-nginx") == (
        result["outcome"],
        result["route"],
        result["backends"][0]["service"],
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("check", "-f", "/nowhere"), "-f /nowhere: there is no such file or directory"),
        (("check", "-f", ".", "--pool", "10.0.0.0"), "--pool 10.0.0.0"),
        (("check", "-f", ".", "--pool", "elsewhere"), "give one like 127.80.0.0/16"),
        (("check", "-f", ".", "--port-offset", "70000"), "--port-offset 70000"),
        (("check", "-f", ".", "--host-ports", "80,x"), "--host-ports 80,x: 'x' is no port and no range; give 80,443"),
        (("check", "-f", ".", "--host-ports", "9-8"), "--host-ports 9-8"),
        (("check", "-f", ".", "--host-ports", "0-65536"), "--host-ports 0-65536"),
        (("check", "-f", ".", "--default-tls-secret", "x"), "NAMESPACE/NAME"),
        (("explain", "-f", ".", "GET", "nonsense"), "http"),
        (("explain", "-f", ".", "GET", "http://a/", "-H", "odd"), "'name: value'"),
        (("explain", "-f", ".", "GET", "http://a/", "--parent", "a", "--address", "b"), "give one"),
        (("bootstrap", "--xds-address", "192.0.2.1:18000"), "Unix socket"),
        (("bootstrap", "--xds-address", "nonsense"), "HOST:PORT"),
        (("serve", "-f", ".", "--xds-listen", "127.0.0.1:1", "--xds-tls-cert", "x"), "give all three"),
        (("serve", "-f", ".", "--max-connection-age", "60"), "--max-connection-age: is for TCP"),
        (("serve", "-f", ".", "--xds-listen", "127.0.0.1:1", "--max-connection-age", "0"), "from 1 to a year"),
    ],
)
def test_wrong_usage_says_what_to_do(
    tidegate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], expected: str
) -> None:
    """Exit code 2, one line on standard error that names the flag and the way out."""
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    monkeypatch.chdir(tmp_path)

    code = tidegate(*flags)

    assert (2, 1) == (code, tidegate.error.count("\n"))
    assert expected in tidegate.error


@pytest.mark.parametrize("more", [(), ("--datapath",)])
def test_a_directory_without_a_manifest_is_not_served(tidegate: Command, tmp_path: Path, more: tuple[str, ...]) -> None:
    """A wrong path must not take all from nodes and proxies; the way out is said, for who means it."""
    (tmp_path / "empty").mkdir()

    code = tidegate("serve", "-f", str(tmp_path / "empty"), "--state", str(tmp_path / "state"), *more)

    assert (2, 1) == (code, tidegate.error.count("\n"))
    assert "no manifest in it; files end in .yaml, .yml or .json; --allow-empty serves nothing" in tidegate.error


def test_bootstrap_is_json_with_the_asked_address(tidegate: Command, tmp_path: Path) -> None:
    """The printed bootstrap names the socket and the node."""
    code = tidegate("bootstrap", "--xds-address", f"unix:{tmp_path}/xds.sock", "--node-id", "n7")

    assert (0, "n7") == (code, tidegate.json["node"]["id"])
    assert f"{tmp_path}/xds.sock" in tidegate.text


def test_version_names_the_parts(tidegate: Command) -> None:
    """`version -o json` has our version and those of the libraries that decide what Envoy gets."""
    code = tidegate("version", "-o", "json")

    assert 0 == code
    assert {"tidegate", "python", "grpcio", "protobuf", "google-re2"} <= tidegate.json.keys()


def test_check_marks_what_holds_of_some_parts_alone(tidegate: Command, manifests: Path) -> None:
    """A Gateway of which a listener is not accepted has no tick; which listener it is, is marked there."""
    listeners = "listeners:\n  - {name: tcp, port: 90, protocol: TCP}"
    (manifests / "gateway.yaml").write_text(GATEWAY.replace("listeners:", listeners))

    assert 1 == tidegate("check", "-f", manifests)
    assert "! Accepted=True ListenersNotValid: listeners not accepted: tcp" in tidegate.text
    assert "✗ tcp: Accepted=False UnsupportedProtocol" in tidegate.text
