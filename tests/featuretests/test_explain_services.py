"""What `explain` says of calls to Services, which a node's daemon leads to Envoy or to a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.featuretests.test_cli import Command

WORLD = "tests/golden/mesh/producer-and-consumer.in.yaml"


@pytest.fixture
def tidegate(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def explained(tidegate: Command, project: Path) -> Any:
    """The results for a URL and flags."""

    def explain(*arguments: str, world: str = WORLD) -> list[Any]:
        assert 0 == tidegate("explain", "--datapath", "-f", project / world, "-o", "json", "GET", *arguments)
        found: list[Any] = tidegate.json["results"]
        return found

    return explain


@pytest.mark.parametrize("host", ["shop.shop", "shop.shop.svc", "shop.shop.svc.cluster.local"])
def test_a_service_is_called_by_its_name(explained: Any, host: str) -> None:
    """At each of its addresses, as DNS has it; the producer's route is for everybody."""
    results = explained(f"http://{host}/new/1", "--client", "10.0.2.9")
    at_six = explained(f"http://{host}/new/1", "--client", "2001:db8:2::9")

    assert ["10.96.0.10"] == [each["address"] for each in results]
    assert ["2001:db8::10"] == [each["address"] for each in at_six]
    assert ("Service/shop/shop", "redirect", "producer") == (
        results[0]["parent"],
        results[0]["outcome"],
        results[0]["route"]["name"],
    )
    assert "redirect" == at_six[0]["outcome"]


def test_the_client_decides_about_a_consumers_route(explained: Any) -> None:
    """A pod of its namespace follows it and no other; a pod is named as one, or by its address."""
    for client in ("consumer/web", "10.0.2.1"):
        [only, new] = (explained(f"http://10.96.0.10{path}", "--client", client)[0] for path in ("/only", "/new"))
        assert ("route", "consumer") == (only["outcome"], only["route"]["name"])
        assert ("direct_response", 404) == (new["outcome"], new["status"])
        assert "none of the routes for the clients of this namespace" in new["reason"]


def test_who_is_no_pod_is_told_that_a_service_may_not_be_for_him(explained: Any) -> None:
    """Whether he is a node is not known here; a pod is told nothing of that, and neither is nobody in particular."""
    clients: tuple[list[str], ...] = (
        ["--client", "192.0.2.9"],
        ["--client", "10.0.2.1"],
        ["--client", "consumer/web"],
        [],
    )
    told = [explained("http://10.96.0.10/only", *client)[0]["reason"] for client in clients]

    assert [True, False, False, False] == ["192.0.2.9 is no pod's" in reason for reason in told]


def test_nobody_is_told_what_depends_on_who_asks(explained: Any) -> None:
    """Not a guess: the answer says what to add."""
    [result] = explained("http://10.96.0.10/new")

    assert "give --client" in result["reason"]


def test_a_port_without_routes_is_the_kernels(explained: Any) -> None:
    """The endpoints that may get a new connection, and that no proxy sees it."""
    [result] = explained("http://10.96.0.10:25/")

    assert ("kernel", "Service/shop/shop", ["10.0.1.1:2525"]) == (
        result["outcome"],
        result["parent"],
        result["endpoints"],
    )
    assert "no proxy sees the connection" in result["reason"]


TRANSPORTS = "tests/golden/mesh/transports.in.yaml"


@pytest.mark.parametrize("url", ["http://127.80.0.9:53/", "http://10.96.0.53:53/"])
def test_a_route_of_bytes_is_named(explained: Any, url: str) -> None:
    """At a Gateway and at a Service, which has other endpoints of its own: those told are the route's."""
    [result] = explained(url, world=TRANSPORTS)

    assert ("kernel", "TCPRoute", "dns") == (result["outcome"], result["route"]["kind"], result["route"]["name"])
    assert {"10.0.2.1:5353", "nobody: refused"} == set(result["endpoints"])
    assert {("", 0)} == {(each["service"], each["port"]) for each in result["backends"]}


LEFT = """
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: balanced}
spec: {type: LoadBalancer, clusterIP: 10.96.0.2, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}
"""


@pytest.mark.parametrize(
    ("url", "parent", "words"),
    [
        ("http://near.default/", "Service/default/near", "its internalTrafficPolicy is Local and it has no route"),
        ("http://10.96.0.1/", "Service/default/near", "its internalTrafficPolicy is Local and it has no route"),
        ("http://10.96.0.2:81/", "Service/default/balanced", "it has no TCP port 81; there are: 80"),
        (
            "http://192.0.2.1/",
            "Service/default/balanced",
            "the address of its load balancer, which is left to kube-proxy",
        ),
        ("http://192.0.2.2/", "", "no service of the mesh has this address and port"),
    ],
)
def test_who_is_left_to_kube_proxy_is_named(explained: Any, tmp_path: Path, url: str, parent: str, words: str) -> None:
    """With the reason: nothing of the mesh is there, but somebody is."""
    (tmp_path / "services.yaml").write_text(LEFT)

    [result] = explained(url, world=str(tmp_path))

    assert ("kernel", parent, True) == (result["outcome"], result["parent"], words in result["reason"])


def test_an_address_of_nobody_is_left_alone(explained: Any) -> None:
    """A pod's own, say."""
    [result] = explained("http://10.0.1.1:8080/")

    assert ("kernel", []) == (result["outcome"], result["endpoints"])
    assert "the connection goes where it would without it" in result["reason"]


def test_what_does_not_begin_as_http_goes_on_as_bytes(explained: Any) -> None:
    """At a port that says nothing of its protocol, TLS is told from HTTP."""
    plain, encrypted = (
        explained(f"{scheme}://shop.shop:8443/", "--client", "10.0.2.9")[0] for scheme in ("http", "https")
    )

    assert ("route", "passthrough") == (plain["outcome"], encrypted["outcome"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("http://headless.shop/",), "Service/shop/headless has no address in spec.clusterIPs"),
        (("http://shop.shop/", "--client", "consumer/nobody"), "--client consumer/nobody: there is no such pod"),
        (("http://shop.shop/", "--client", "a/b/c"), "--client 'a/b/c': give an IP address, or NAMESPACE/POD"),
        (("http://shop.shop/", "--address", "nonsense"), "--address 'nonsense': give an IP address"),
        (("http://shop.shop:81/",), "URL: Service/shop/shop has no TCP port 81; there are: "),
        (("http://[::1/",), "URL 'http://[::1/': write an IPv6 address in brackets"),
        (
            ("http://shop.shop/", "--parent", "Service/shop/x"),
            "no such Gateway, Ingress or Service with routes is served",
        ),
        (("http://shpo.shop/",), "URL: there is no Service shpo in namespace shop; did you mean shop?"),
        (("http://shop.nowhere.svc/",), "URL: there is no Service shop in namespace nowhere; there are: none"),
        (("http://10.96.0.300/",), "URL: 10.96.0.300 is no IP address"),
        (("http://shop.shpo/",), "URL: shop.shpo is no Service, and no Gateway or Ingress listens at its port"),
        (("http://shop/",), "URL: shop is no Service, and no Gateway or Ingress listens at its port"),
        (("http://shop.shop:0/",), "the port is not a number between 1 and 65535"),
        (("http://10.96.0.10/", "--client", "fd00::1"), "--client: nobody connects from fd00::1 to 10.96.0.10"),
        (("http://shop.shop/", "--client", "10.0.0.1/32"), "--client '10.0.0.1/32': give an IP address, or NAMESPACE"),
        (("http://shop.shop/", "--client", "nobody"), "--client 'nobody': give an IP address, or NAMESPACE/POD"),
    ],
)
def test_what_cannot_be_called_says_why(
    tidegate: Command, project: Path, arguments: tuple[str, ...], words: str
) -> None:
    """With the way out."""
    code = tidegate("explain", "--datapath", "-f", project / WORLD, "GET", *arguments)

    assert (2, True) == (code, words in tidegate.error)
