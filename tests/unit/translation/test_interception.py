from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from tests.envoy_validate import World
from tests.unit.translation.written import GATEWAY
from xds_server.model.interception import Frontage, Intercepted, KernelBackend, ServiceRef
from xds_server.model.listener import Frontend, FrontendPort, Listener
from xds_server.model.refs import SHARED_INGRESS, ListenerRef, ObjectRef, PortRef
from xds_server.model.resource import INTERCEPTED, LISTENER, ResourceKey
from xds_server.proto.tidegate.datapath.v1.datapath_pb2 import TCP, UDP, Proxy, Service
from xds_server.translation.interception import exposed, service
from xds_server.translation.settings import TranslationSettings

PORT = PortRef(GATEWAY, 80)
MESH = ServiceRef(ObjectRef("Service", "default", "web"), 53, "UDP")


def message(found: Intercepted) -> Any:
    return Service.FromString(service(found).body)


def of_gateway(frontend: Frontend, port_offset: int = 0) -> Any:
    found = exposed(PORT, frontend, port_offset)
    assert found is not None
    return message(found)


def test_a_gateway_is_served_by_envoy_for_everybody_who_reaches_the_node() -> None:
    """Each address leads to the listener that is named after it; without Envoy it is not served at all."""
    found = of_gateway(Frontend(GATEWAY, ("192.0.2.1", "2001:db8::1")))

    assert [
        (ip_address(address).packed, 80, f"gateway/default/web/80/{address}")
        for address in ("192.0.2.1", "2001:db8::1")
    ] == [(each.address, each.port, each.listener) for each in found.frontends]
    assert (TCP, True, Proxy.CLOSED) == (found.protocol, found.external, found.proxy.fail_mode)
    assert found.HasField("proxy")
    assert [] == list(found.backends)


def test_the_ports_of_nodes_are_one_frontend_for_both_families() -> None:
    """Behind a Service the port that its endpoints have, and the node port; the address is every one of the node."""
    ports = (FrontendPort(80, 20123, 80, 31000),)
    found = of_gateway(Frontend(GATEWAY, ("203.0.113.7",), bind=("0.0.0.0", "::"), ports=ports))

    assert [(b"", 20123), (b"", 31000)] == [(each.address, each.port) for each in found.frontends]
    assert {"gateway/default/web/80/0.0.0.0"} == {each.listener for each in found.frontends}


def test_without_an_address_there_is_nothing_to_lead() -> None:
    assert exposed(PORT, Frontend(GATEWAY, (), "none is free")) is None


def test_backends_and_affinity_are_said_as_they_are() -> None:
    """Sorted, so that every replica says the same bytes."""
    backends = (KernelBackend("10.0.0.2", 53, 3), KernelBackend("10.0.0.1", 53, 1, terminating=True))
    found = message(Intercepted(MESH, (Frontage("10.96.0.10", 53),), backends=backends, affinity_s=10_800))

    assert [("10.0.0.1", 1, True), ("10.0.0.2", 3, False)] == [
        (str(ip_address(each.address)), each.weight, each.terminating) for each in found.backends
    ]
    assert (UDP, False, False, 10_800) == (
        found.protocol, found.external, found.HasField("proxy"), found.affinity_s
    )  # fmt: skip


def test_a_service_that_fails_open_has_backends_for_then() -> None:
    """Envoy serves it, and the kernel where there is no Envoy."""
    frontage = Frontage("10.96.0.10", 53, "service/default/web/53/10.96.0.10")
    made = service(
        Intercepted(MESH, (frontage,), proxied=True, fail_open=True, backends=(KernelBackend("10.0.0.1", 53),))
    )

    assert Proxy.OPEN == Service.FromString(made.body).proxy.fail_mode
    assert (ResourceKey(LISTENER, frontage.listener),) == made.references


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        (MESH, "default/web/53/UDP"),
        (ServiceRef(GATEWAY, 80, "TCP"), "gateway/default/web/80/TCP"),
        (ServiceRef(SHARED_INGRESS, 443, "TCP"), "sharedingress//shared/443/TCP"),
    ],
    ids=["Service", "Gateway", "Ingress"],
)
def test_names_tell_whose_port_it_is(ref: ServiceRef, name: str) -> None:
    """A Service's by namespace and name alone; others begin with their kind."""
    assert name == service(Intercepted(ref, (Frontage("192.0.2.1", 80),))).name


def test_only_where_daemons_are_anything_is_led() -> None:
    """A port comes and goes with its listener."""
    listener = Listener(ListenerRef(GATEWAY, "http"), GATEWAY, 80, "HTTP", "*")
    worlds = [World(TranslationSettings(datapath=each)) for each in (False, True)]
    for world in worlds:
        world.put(Frontend(GATEWAY, ("192.0.2.1",)), listener).commit()
    keys = [{key.name for key in world.resources if key.type_url == INTERCEPTED} for world in worlds]
    worlds[1].listeners.delete(listener.ref)
    worlds[1].commit()

    assert [set(), {"gateway/default/web/80/TCP"}] == keys
    assert [] == [key for key in worlds[1].resources if key.type_url == INTERCEPTED]
