from __future__ import annotations

from tests.envoy_validate import World, decoded
from tests.unit.translation.written import cluster
from xds_server.model.backend import Cluster
from xds_server.model.resource import CLUSTER, LISTENER, ResourceKey
from xds_server.translation.capture import capture
from xds_server.translation.settings import TranslationSettings

MARK = (1, 36, 0xA00)


def options(found: object) -> list[tuple[int, int, int]]:
    return [(each.level, each.name, each.int_value) for each in found]  # type: ignore[attr-defined]


def test_each_family_has_a_capture_listener_on_loopback() -> None:
    """Transparent, by original destination, and marked before it is bound: accepted sockets inherit the mark."""
    found = {each.name: decoded(each) for each in capture() if each.type_url == LISTENER}

    assert {"capture/ipv4": ("127.0.0.1", 15001), "capture/ipv6": ("::1", 15001)} == {
        name: (each.address.socket_address.address, each.address.socket_address.port_value)
        for name, each in found.items()
    }
    for each in found.values():
        assert each.transparent.value
        assert each.use_original_dst.value
        assert MARK in options(each.socket_options)
        assert {0} == {option.state for option in each.socket_options}


def test_they_are_there_only_where_daemons_are() -> None:
    """Whatever the objects say; without daemons nothing refers to them and nobody has them."""
    without, led = World().commit(), World(TranslationSettings(datapath=True)).commit()

    assert {} == without.messages(LISTENER) | without.messages(CLUSTER)
    assert {each.key for each in capture()} == set(led.resources)


def test_connections_to_backends_are_marked_where_daemons_are() -> None:
    """The programs of the node let Envoy's own packets pass; elsewhere a mark would need rights that Envoy has not."""
    ref = cluster("web")
    without, led = (World(TranslationSettings(datapath=each)).put(Cluster(ref)).commit() for each in (False, True))
    [key] = (key for key in without.resources if key.type_url == CLUSTER)

    assert not without.message(CLUSTER, key.name).HasField("upstream_bind_config")
    assert [MARK] == options(led.message(CLUSTER, key.name).upstream_bind_config.socket_options)
    assert [MARK] == options(
        led.message(*ResourceKey(CLUSTER, "capture/original_dst")).upstream_bind_config.socket_options
    )
