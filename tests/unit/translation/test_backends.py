from __future__ import annotations

from typing import Any

import pytest

from tests.unit.translation.written import cluster as ref
from xds_server.model.backend import Certificate, Cluster, Endpoint, Endpoints
from xds_server.model.refs import Kept, ObjectRef, Protocol
from xds_server.model.resource import CLUSTER_LOAD_ASSIGNMENT, ResourceKey
from xds_server.translation.cluster import cluster
from xds_server.translation.endpoint import cluster_load_assignment
from xds_server.translation.envoy import (
    ADS,
    ClusterHttpProtocolOptions,
    ClusterLoadAssignment,
    Secret,
    UpstreamTlsContext,
)
from xds_server.translation.envoy import Cluster as EnvoyCluster
from xds_server.translation.secret import secret

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def message(protocol: Protocol) -> Any:
    return EnvoyCluster.FromString(cluster(Cluster(ref("one", protocol))).body)


def test_a_cluster_asks_for_its_endpoints_by_its_own_name() -> None:
    """X42, X47: one name for both, one constant source, and a reference for the stream to wait on."""
    made = cluster(Cluster(ref("one"), 1500))
    decoded = EnvoyCluster.FromString(made.body)

    assert "default/one/80/http" == decoded.name == decoded.eds_cluster_config.service_name == made.name
    assert ADS == decoded.eds_cluster_config.eds_config
    assert 1500 == decoded.connect_timeout.ToMilliseconds()
    assert (ResourceKey(CLUSTER_LOAD_ASSIGNMENT, made.name),) == made.references


@pytest.mark.parametrize(
    ("protocol", "http2", "alpn"),
    [("http", False, []), ("h2c", True, []), ("https", False, ["http/1.1"]), ("h2", True, ["h2"])],
)
def test_each_protocol_is_spoken_explicitly(protocol: Protocol, http2: bool, alpn: list[str]) -> None:
    """Nothing is guessed from what the client speaks."""
    made = message(protocol)
    options = ClusterHttpProtocolOptions.FromString(made.typed_extension_protocol_options[OPTIONS].value)
    context = UpstreamTlsContext.FromString(made.transport_socket.typed_config.value)

    assert http2 == options.explicit_http_config.HasField("http2_protocol_options")
    assert http2 != options.explicit_http_config.HasField("http_protocol_options")
    assert alpn == list(context.common_tls_context.alpn_protocols)
    assert bool(alpn) == options.upstream_http_protocol_options.auto_sni


def test_plain_bytes_have_no_http_options() -> None:
    """TLS routes only carry bytes."""
    assert {} == dict(message("tcp").typed_extension_protocol_options)


@pytest.mark.parametrize(("kept", "mark"), [("", 0x0A00), ("ipv4", 0x0B00), ("ipv6", 0x0B00)])
def test_what_a_cluster_sends_is_known_by_its_mark(kept: Kept, mark: int) -> None:
    """Where daemons are: that of connections in a client's name is another, which have no port before they connect."""
    made = cluster(Cluster(ref("one")._replace(kept=kept)), datapath=True)
    options = EnvoyCluster.FromString(made.body).upstream_bind_config.socket_options
    found = {(each.level, each.name): each.int_value for each in options}
    more = {(0, 24): 1, (1, 2): 1} if kept else {}

    assert {(1, 36): mark} | more == found
    assert [] == list(message("http").upstream_bind_config.socket_options)


def test_no_service_has_a_wall_of_its_own() -> None:
    """Envoy's 1,024 connections are fewer than the WebSockets of one good day."""
    [threshold] = message("http").circuit_breakers.thresholds

    assert {2**32 - 1} == {
        each.value
        for each in (
            threshold.max_connections,
            threshold.max_pending_requests,
            threshold.max_requests,
        )
    }


def test_retries_are_a_share_of_the_requests() -> None:
    """An outage gets a fifth more requests, not many times as many; a quiet Service may still retry."""
    [threshold] = message("http").circuit_breakers.thresholds

    assert not threshold.HasField("max_retries")
    assert (20, 10) == (
        threshold.retry_budget.budget_percent.value,
        threshold.retry_budget.min_retry_concurrency.value,
    )


def test_a_cluster_without_time_to_connect_is_refused() -> None:
    """X54: Envoy refuses a whole response for it."""
    with pytest.raises(ValueError, match="is not positive"):
        cluster(Cluster(ref("one"), 0))


def test_endpoints_are_grouped_by_zone() -> None:
    """Zones in order; endpoints that say none have no locality."""
    one = Endpoints(ref("one"), (Endpoint("10.0.0.1", 80, "b"), Endpoint("10.0.0.2", 80, "a"), Endpoint("fd00::1", 80)))
    made = ClusterLoadAssignment.FromString(cluster_load_assignment(ref("one"), one).body)

    assert [("", ["fd00::1"]), ("a", ["10.0.0.2"]), ("b", ["10.0.0.1"])] == [
        (each.locality.zone, [member.endpoint.address.socket_address.address for member in each.lb_endpoints])
        for each in made.endpoints
    ]


def test_a_cluster_without_endpoints_is_told_so() -> None:
    """An empty assignment answers 503 at once; a missing one would hold up the cluster."""
    made = ClusterLoadAssignment.FromString(cluster_load_assignment(ref("one"), None).body)

    assert ("default/one/80/http", 0) == (made.cluster_name, len(made.endpoints))


def test_a_certificate_is_in_its_secret_and_nowhere_else() -> None:
    """S17: neither the resource's repr nor its name holds the key."""
    made = secret(Certificate(ObjectRef("Secret", "default", "web"), b"CHAIN", b"CANARY"))
    decoded = Secret.FromString(made.body)

    assert (b"CHAIN", b"CANARY") == (
        decoded.tls_certificate.certificate_chain.inline_bytes,
        decoded.tls_certificate.private_key.inline_bytes,
    )
    assert "secret/default/web" == decoded.name == made.name
    assert "CANARY" not in repr(made)
