from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xds_server.proxy.bootstrap import BootstrapOptions, ClientTls, XdsHost, XdsSocket, bootstrap, certificate_sources

SOCKET = BootstrapOptions("node-1", XdsSocket(Path("/run/xds.sock")), Path("/run/admin.sock"))
TLS = ClientTls(Path("/tls/tls.crt"), Path("/tls/tls.key"), Path("/tls/ca.crt"), "xds.example.com")


def document(options: BootstrapOptions) -> Any:
    return json.loads(bootstrap(options))


def clusters(options: BootstrapOptions) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in document(options)["static_resources"]["clusters"]}


def test_the_admin_interface_is_a_socket_for_its_owner_alone() -> None:
    """S11: admin listens on a Unix socket of mode 0600, and on nothing else."""
    assert {"pipe": {"path": "/run/admin.sock", "mode": 0o600}} == document(SOCKET)["admin"]["address"]


def test_everything_dynamic_comes_by_one_delta_stream() -> None:
    """Clusters and listeners are asked of the aggregated delta stream, whose node is sent once."""
    dynamic = document(SOCKET)["dynamic_resources"]

    assert "DELTA_GRPC" == dynamic["ads_config"]["api_type"]
    assert dynamic["ads_config"]["set_node_on_first_message_only"]
    assert {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"} == dynamic["cds_config"]
    assert dynamic["cds_config"] == dynamic["lds_config"]


def test_an_unasked_door_is_closed() -> None:
    """Without a metrics address there is no listener, and no cluster leads to the admin interface."""
    assert ["tidegate/xds"] == list(clusters(SOCKET))
    assert "listeners" not in document(SOCKET)["static_resources"]


def test_the_metrics_listener_has_two_paths_and_one_method() -> None:
    """S11: the way from TCP to the admin interface is GET of /stats/prometheus and /ready."""
    options = BootstrapOptions("node-1", SOCKET.xds, SOCKET.admin, metrics=("127.0.0.1", 9102))
    [listener] = document(options)["static_resources"]["listeners"]
    [manager] = [f["typed_config"] for chain in listener["filter_chains"] for f in chain["filters"]]
    [host] = manager["route_config"]["virtual_hosts"]

    assert ["/stats/prometheus", "/ready"] == [route["match"]["path"] for route in host["routes"]]
    assert all(
        [{"name": ":method", "string_match": {"exact": "GET"}}] == route["match"]["headers"] for route in host["routes"]
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1"])
def test_metrics_may_be_asked_for_from_elsewhere(host: str) -> None:
    """S11: kubelets and Prometheus dial the node's address; what answers them is the same everywhere."""
    options = BootstrapOptions("node-1", SOCKET.xds, SOCKET.admin, metrics=(host, 9102))
    [listener] = document(options)["static_resources"]["listeners"]

    assert {"address": host, "port_value": 9102} == listener["address"]["socket_address"]
    with pytest.raises(ValueError, match="not an IP address"):
        BootstrapOptions("node-1", SOCKET.xds, SOCKET.admin, metrics=("example.com", 9102))


def test_certificates_are_read_again_when_they_are_replaced() -> None:
    """Both halves come from files that name a directory to watch; the server is still verified by its name."""
    tls = replace(TLS, sources=Path("/run/sources"), trusted_ca=Path("/trust/ca.crt"))
    options = BootstrapOptions("node-1", XdsHost("xds.example.com", 18000, tls), SOCKET.admin)
    context = clusters(options)["tidegate/xds"]["transport_socket"]["typed_config"]["common_tls_context"]
    texts = {str(path): json.loads(text)["resources"][0] for path, text in certificate_sources(tls).items()}
    [own] = context["tls_certificate_sds_secret_configs"]
    trust = context["validation_context_sds_secret_config"]
    shown = texts[own["sds_config"]["path_config_source"]["path"]]
    trusted = texts[trust["sds_config"]["path_config_source"]["path"]]

    assert (own["name"], trust["name"]) == (shown["name"], trusted["name"])
    assert {"path": "/tls"} == shown["tls_certificate"]["watched_directory"]
    assert {"path": "/trust"} == trusted["validation_context"]["watched_directory"]
    assert [{"san_type": "DNS", "matcher": {"exact": "xds.example.com"}}] == (
        trusted["validation_context"]["match_typed_subject_alt_names"]
    )
    assert {} == certificate_sources(TLS)


@pytest.mark.parametrize("host", ["10.0.0.1", "xds.example.com", "2001:db8::1"])
def test_a_remote_control_plane_needs_tls(host: str) -> None:
    """S9: plaintext never leaves the machine."""
    with pytest.raises(ValueError, match="certificate"):
        XdsHost(host, 18000)


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1"])
def test_a_control_plane_that_is_named_by_address_is_verified_by_it(address: str) -> None:
    """An address in a certificate is another kind of name, and is never sent as SNI (RFC 6066)."""
    tls = replace(TLS, server_name=address)
    options = BootstrapOptions("node-1", XdsHost(address, 18000, tls), SOCKET.admin)
    socket = clusters(options)["tidegate/xds"]["transport_socket"]["typed_config"]
    sources = certificate_sources(replace(tls, sources=Path("/run/sources")))
    [trusted] = [
        found for text in sources.values() if (found := json.loads(text)["resources"][0]).get("validation_context")
    ]
    expected = [{"san_type": "IP_ADDRESS", "matcher": {"exact": address}}]

    assert expected == socket["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert expected == trusted["validation_context"]["match_typed_subject_alt_names"]
    assert "sni" not in socket


def test_the_control_plane_is_verified_by_ca_and_name() -> None:
    """S9: Envoy shows its certificate and accepts only the named server of the named CA, by TLS 1.3."""
    options = BootstrapOptions("node-1", XdsHost("xds.example.com", 18000, TLS), SOCKET.admin)
    cluster = clusters(options)["tidegate/xds"]
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]

    assert "STRICT_DNS" == cluster["type"]
    assert {"filename": "/tls/ca.crt"} == context["validation_context"]["trusted_ca"]
    assert [{"san_type": "DNS", "matcher": {"exact": "xds.example.com"}}] == (
        context["validation_context"]["match_typed_subject_alt_names"]
    )
    assert [{"certificate_chain": {"filename": "/tls/tls.crt"}, "private_key": {"filename": "/tls/tls.key"}}] == (
        context["tls_certificates"]
    )


def test_a_socket_path_that_linux_cuts_is_refused() -> None:
    """A path longer than a socket address holds is an error with a way out, not another socket."""
    with pytest.raises(ValueError, match="use a shorter one"):
        BootstrapOptions("node-1", XdsSocket(Path("/" + "x" * 110)), SOCKET.admin)


def test_options_cost_no_message_classes() -> None:
    """Importing the options does not import envoy-data-plane, which takes half a second."""
    seen = subprocess.run(
        [sys.executable, "-c", "import sys, xds_server.proxy.bootstrap; print('envoy_data_plane' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "False" == seen.stdout.strip()
