"""GatewayClass, Gateway and its listeners: conditions, conflicts, certificates, addresses."""

# ruff: noqa: E501  # a manifest on one line reads better than one broken by Python

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.ingestion import tls
from tests.unit.ingestion.world import DIRECTORY, World
from xds_server.ingestion.features import SUPPORTED_FEATURES
from xds_server.ingestion.sources import Settings
from xds_server.model.listener import TlsTermination
from xds_server.model.refs import ObjectRef

WEB = ObjectRef("Gateway", "default", "web")
HTTP = "{name: http, port: 80, protocol: HTTP}"


def gateway(
    listeners: str = HTTP,
    *,
    name: str = "web",
    namespace: str = "default",
    class_name: str = "tidegate",
    spec: str = "",
) -> str:
    return f"""
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}, generation: 3}}
spec:
  gatewayClassName: {class_name}
  listeners: [{listeners}]
  {spec}
"""  # fmt: skip


def gateway_class(controller: str, name: str = "tidegate", spec: str = "") -> str:
    return f"""
kind: GatewayClass
metadata: {{name: {name}, generation: 2}}
spec:
  controllerName: {controller}
  {spec}
"""


def https(name: str, hostname: str = "", refs: str = "{name: pair}", port: int = 443) -> str:
    host = f"hostname: '{hostname}', " if hostname else ""
    return f"{{name: {name}, {host}port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{refs}]}}}}"


def sections(world: World) -> list[str]:
    return sorted(ref.section for ref in world.ingested.listeners)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_class_that_names_this_controller_is_accepted_with_its_features() -> None:
    """GatewayClass: Accepted, SupportedVersion, and the features in order, all of this generation."""
    world = World(gateway_class("tidegate.dev/controller", "edge"))

    found = world.verdict("GatewayClass", "edge", namespace="")

    assert ["True/Accepted", "True/SupportedVersion"] == [f"{c.status}/{c.reason}" for c in found.conditions]
    assert (2, SUPPORTED_FEATURES) == (found.generation, found.supported_features)
    assert sorted(SUPPORTED_FEATURES) == list(SUPPORTED_FEATURES)


def test_the_documented_features_are_those_that_are_announced(project: Path) -> None:
    """docs/gateway-api.md ends with the list that the GatewayClass carries."""
    listed = (project / "docs/gateway-api.md").read_text().partition("## Features")[2]

    assert list(SUPPORTED_FEATURES) == re.findall(r"`([A-Za-z0-9]+)`", listed)


def test_a_class_with_parameters_is_not_accepted_and_neither_are_its_gateways() -> None:
    """Parameters that nobody reads must not look as if they worked."""
    parameters = "parametersRef: {group: example.com, kind: Knobs, name: fast}"
    world = World(gateway_class("tidegate.dev/controller", "edge", parameters), gateway(class_name="edge"))

    assert "False/InvalidParameters" == world.reason("Accepted", "GatewayClass", "edge", namespace="")
    assert "False/InvalidParameters" == world.reason("Accepted", "Gateway", "web")
    assert [] == sections(world)


def test_a_gateway_of_another_controller_is_not_touched() -> None:
    """W6: no verdict, no address, no listener, though the class has a name of ours."""
    world = World(gateway_class("example.com/other"), gateway())

    assert (0, 0, 0) == (len(world.ingested.verdicts), len(world.ingested.frontends), len(world.ingested.listeners))


def test_an_undeclared_class_is_ours_only_where_the_settings_say_so() -> None:
    """A cluster has GatewayClass objects; a directory need not write them."""
    served = [World(gateway(class_name="cilium"), settings=settings) for settings in (DIRECTORY, Settings())]

    assert [1, 0] == [len(world.ingested.listeners) for world in served]


def test_a_class_that_changes_hands_takes_its_gateways_along() -> None:
    """What is served follows the class, both ways."""
    world = World(gateway_class("example.com/other"), gateway())
    seen = [len(world.ingested.listeners)]
    for controller in ("tidegate.dev/controller", "example.com/other"):
        world.apply(gateway_class(controller))
        seen.append(len(world.ingested.listeners))

    assert [0, 1, 0] == seen


# --- listeners --------------------------------------------------------------------------------------------------------


def test_a_plain_listener_has_all_its_conditions() -> None:
    """Accepted, ResolvedRefs and Conflicted, the kinds in order, no routes yet, of this generation."""
    found = World(gateway()).verdict("Gateway", "web", "http")

    assert ["Accepted", "ResolvedRefs", "Conflicted"] == [c.type for c in found.conditions]
    assert ["True", "True", "False"] == [c.status for c in found.conditions]
    assert (("GRPCRoute", "HTTPRoute"), 0, 3) == (found.supported_kinds, found.attached_routes, found.generation)


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "example.com/own"])
def test_a_protocol_that_is_not_served_is_told(protocol: str) -> None:
    """UnsupportedProtocol on the listener; the Gateway goes on with its others, and without any it is not accepted."""
    odd = f"{{name: odd, port: 81, protocol: {protocol}}}"
    alone, beside = World(gateway(odd)), World(gateway(f"{HTTP}, {odd}"))

    assert "False/UnsupportedProtocol" == alone.reason("Accepted", "Gateway", "web", "odd")
    assert () == alone.verdict("Gateway", "web", "odd").supported_kinds
    assert "False/ListenersNotValid" == alone.reason("Accepted", "Gateway", "web")
    assert "True/ListenersNotValid" == beside.reason("Accepted", "Gateway", "web")
    assert (["http"], []) == (sections(beside), sections(alone))


@pytest.mark.parametrize(
    ("listener", "named"),
    [
        ("{name: x, port: 80, protocol: HTTP, hostname: Shop.example.com}", "hostname"),
        ("{name: x, port: 80, protocol: HTTP, hostname: shop.example.com.}", "hostname"),
        ("{name: x, port: 80, protocol: HTTP, hostname: 10.0.0.1}", "hostname"),
        ("{name: x, port: 80, protocol: HTTP, hostname: 'a.*.example.com'}", "hostname"),
        ("{name: x, port: 80, protocol: HTTP, hostname: 'shop.example.com:80'}", "hostname"),
        ("{name: x, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: pair}]}}", "tls"),
        ("{name: x, port: 443, protocol: HTTPS}", "tls"),
        ("{name: x, port: 443, protocol: TLS}", "tls"),
        ("{name: x, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}", "tls.mode"),
        ("{name: x, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: pair}], options: {a.b/c: d}}}", "a.b/c"),
        ("{name: x, port: 80, protocol: HTTP, filters: {requests: [{type: ExtensionRef, extensionRef: {group: a, kind: b, name: c}}]}}", "filters"),
    ],
)  # fmt: skip
def test_what_a_listener_cannot_do_is_refused_by_name(listener: str, named: str) -> None:
    """UnsupportedValue, the field in the message, and nothing served of it: never half of what was asked for."""
    world = World(gateway(listener), tls.secret("pair"))

    found = world.condition("Accepted", "Gateway", "web", "x")

    assert found is not None
    assert ("False", "UnsupportedValue") == (found.status, found.reason)
    assert named in found.message
    assert [] == sections(world)


def test_route_kinds_that_a_protocol_has_not_are_told_and_the_others_stay() -> None:
    """InvalidRouteKinds: "the implementation MUST reference the valid Route kinds that have been specified"."""
    kinds = "allowedRoutes: {kinds: [{kind: UDPRoute}, {kind: HTTPRoute}, {kind: HTTPRoute, group: example.com}]}"
    world = World(gateway(f"{{name: http, port: 80, protocol: HTTP, {kinds}}}"))

    assert "False/InvalidRouteKinds" == world.reason("ResolvedRefs", "Gateway", "web", "http")
    assert ("HTTPRoute",) == world.verdict("Gateway", "web", "http").supported_kinds
    assert "False/ListenersNotResolved" == world.reason("ResolvedRefs", "Gateway", "web")


def test_a_port_that_cannot_be_bound_is_told() -> None:
    """PortUnavailable: an offset that a user without low ports needs leaves fewer ports at the top."""
    listeners = f"{HTTP}, {{name: high, port: 65535, protocol: HTTP}}"
    world = World(gateway(listeners), settings=replace(DIRECTORY, highest_port=55535))

    assert "False/PortUnavailable" == world.reason("Accepted", "Gateway", "web", "high")
    assert ["http"] == sections(world)


# --- several listeners on a port --------------------------------------------------------------------------------------


def test_listeners_that_nothing_tells_apart_are_all_refused() -> None:
    """HostnameConflict: "the implementation MUST NOT pick one conflicting Listener as the winner"."""
    twins = "{name: a, port: 80, protocol: HTTP, hostname: x.io}, {name: b, port: 80, protocol: HTTP, hostname: x.io}"
    world = World(gateway(f"{twins}, {{name: c, port: 80, protocol: HTTP, hostname: y.io}}"))

    assert ["False/HostnameConflict"] * 2 == [world.reason("Accepted", "Gateway", "web", s) for s in "ab"]
    assert ["True/HostnameConflict"] * 2 == [world.reason("Conflicted", "Gateway", "web", s) for s in "ab"]
    assert "False/NoConflicts" == world.reason("Conflicted", "Gateway", "web", "c")
    assert ("True/ListenersNotValid", ["c"]) == (world.reason("Accepted", "Gateway", "web"), sections(world))


def test_plaintext_and_tls_on_one_port_conflict() -> None:
    """ProtocolConflict on both: nothing tells the first byte of one from that of the other's configuration."""
    world = World(gateway(f"{{name: a, port: 443, protocol: HTTP}}, {https('b', 'x.io')}"), tls.secret("pair"))

    assert ["False/ProtocolConflict"] * 2 == [world.reason("Accepted", "Gateway", "web", s) for s in "ab"]
    assert [] == sections(world)


def test_https_and_tls_share_a_port_by_sni() -> None:
    """Terminated and passed-through hostnames live on one port, as TLSRouteModeMixed wants it."""
    passthrough = "{name: pass, port: 443, protocol: TLS, hostname: p.io, tls: {mode: Passthrough}}"
    terminate = "{name: end, port: 443, protocol: TLS, hostname: t.io, tls: {certificateRefs: [{name: pair}]}}"
    world = World(gateway(f"{https('web', 'w.io')}, {passthrough}, {terminate}"), tls.secret("pair"))
    listeners = {ref.section: listener for ref, listener in world.ingested.listeners.items()}
    pair = TlsTermination((ObjectRef("Secret", "default", "pair"),))

    assert {"web": pair, "pass": None, "end": pair} == {name: found.tls for name, found in listeners.items()}
    assert ("TLSRoute",) == world.verdict("Gateway", "web", "end").supported_kinds


def test_hostnames_that_overlap_are_told_for_tls() -> None:
    """OverlappingTLSConfig on both sides of an overlap, and on no other."""
    world = World(
        gateway(f"{https('a', 'foo.example.com')}, {https('b', 'foo.example.org')}, {https('c', '*.example.com')}"),
        tls.secret("pair"),
    )
    found = {section: world.reason("OverlappingTLSConfig", "Gateway", "web", section) for section in "abc"}

    assert {"a": "True/OverlappingHostnames", "b": "", "c": "True/OverlappingHostnames"} == found


def test_a_listener_knows_the_hostnames_that_are_not_its_own() -> None:
    """W11: a request that arrives with the SNI of one HTTPS listener and the Host of another is misdirected (421)."""
    listeners = f"{https('a', 'a.io')}, {https('b', 'b.io')}, {https('c', 'c.io', port=8443)}"
    world = World(gateway(listeners), tls.secret("pair"))
    found = {ref.section: listener.misdirected for ref, listener in world.ingested.listeners.items()}

    assert {"a": ("b.io",), "b": ("a.io",), "c": ()} == found


def test_the_first_of_two_listeners_with_one_name_counts() -> None:
    """The API server admits no second one; a file may hold it, and the Gateway says so."""
    world = World(gateway("{name: x, port: 80, protocol: HTTP}, {name: x, port: 81, protocol: HTTP}"))
    accepted = world.condition("Accepted", "Gateway", "web")

    assert accepted is not None
    assert [80] == [listener.port for listener in world.ingested.listeners.values()]
    assert ("True", "ListenersNotValid") == (accepted.status, accepted.reason)
    assert "x" in accepted.message


# --- certificates -----------------------------------------------------------------------------------------------------


def test_a_listener_presents_its_certificates_in_order() -> None:
    """Several certificates on one listener; only Secrets that listeners name are among the certificates."""
    world = World(gateway(https("x", refs="{name: b}, {name: a}")), *(tls.secret(name) for name in "abc"))
    [listener] = world.ingested.listeners.values()

    assert TlsTermination((ObjectRef("Secret", "default", "b"), ObjectRef("Secret", "default", "a"))) == listener.tls
    assert {"a", "b"} == {ref.name for ref in world.ingested.certificates}
    assert "True/ResolvedRefs" == world.reason("ResolvedRefs", "Gateway", "web")


@pytest.mark.parametrize(
    "refs",
    [
        "",
        "{name: missing}",
        "{name: opaque}",
        "{name: broken}",
        "{name: pair, kind: ConfigMap}",
        "{name: pair, group: example.com}",
        "{name: pair, group: cert-manager.io, kind: Certificate}",
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_and_its_listener_is_not_served(refs: str) -> None:
    """InvalidCertificateRef; S15: the listener beside it goes on."""
    secrets = tls.secret("pair"), tls.secret("opaque", type_="Opaque"), tls.secret("broken", crt=b"junk")
    world = World(gateway(f"{HTTP}, {https('x', refs=refs)}"), *secrets)

    assert "False/InvalidCertificateRef" == world.reason("ResolvedRefs", "Gateway", "web", "x")
    assert ("True/Accepted", ["http"]) == (world.reason("Accepted", "Gateway", "web"), sections(world))
    assert {} == dict(world.ingested.certificates)


def test_one_bad_certificate_leaves_the_good_ones() -> None:
    """A listener serves with what works, and ResolvedRefs still names what does not."""
    world = World(gateway(https("x", refs="{name: missing}, {name: pair}")), tls.secret("pair"))
    found = world.condition("ResolvedRefs", "Gateway", "web", "x")

    assert found is not None
    assert "Secret/default/missing" in found.message
    assert (["x"], "InvalidCertificateRef") == (sections(world), found.reason)


def test_all_bad_certificates_are_named() -> None:
    """Each by its place and with its reason, up to eight of them; the first one's reason is the condition's."""
    refs = "{name: missing}, {name: pair}, {name: opaque}, {name: other, kind: ConfigMap}"
    world = World(gateway(https("x", refs=refs)), tls.secret("pair"), tls.secret("opaque", type_="Opaque"))
    found = world.condition("ResolvedRefs", "Gateway", "web", "x")
    many = World(gateway(https("x", refs=", ".join(f"{{name: m{n}}}" for n in range(12)))))
    bounded = many.condition("ResolvedRefs", "Gateway", "web", "x")

    assert found is not None
    assert bounded is not None
    assert (
        "tls.certificateRefs[0]: Secret/default/missing: does not exist; "
        "tls.certificateRefs[2]: Secret/default/opaque: is not of type kubernetes.io/tls; "
        "tls.certificateRefs[3]: certificate other is a /ConfigMap; only Secrets are read"
    ) == found.message
    assert bounded.message.endswith("tls.certificateRefs[7]: Secret/default/m7: does not exist; and 4 more")


def test_a_certificate_that_appears_or_goes_is_followed() -> None:
    """The listener comes with its Secret and goes with it."""
    world = World(gateway(https("x")))
    seen = [sections(world)]
    seen.append(sections(world.apply(tls.secret("pair"))))
    seen.append(sections(world.delete("Secret", "pair")))

    assert [[], ["x"], []] == seen


# --- client certificates ----------------------------------------------------------------------------------------------


def test_client_validation_that_is_not_there_yet_lets_nobody_in() -> None:
    """S16: a port whose clients must show certificates is not served without the check; other ports are."""
    validation = "{validation: {caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}}"
    world = World(
        gateway(
            f"{https('a')}, {https('b', port=8443)}",
            spec=f"tls: {{frontend: {{default: {validation}, perPort: [{{port: 8443, tls: {{}}}}]}}}}",
        ),
        tls.secret("pair"),
    )

    assert ["False/UnsupportedValue", "True/Accepted"] == [world.reason("Accepted", "Gateway", "web", s) for s in "ab"]
    assert ["b"] == sections(world)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("{name: pair}", "True/ResolvedRefs"),
        ("{name: missing}", "False/InvalidClientCertificateRef"),
        ("{name: pair, kind: ConfigMap}", "False/InvalidClientCertificateRef"),
        ("{name: pair, namespace: other}", "False/RefNotPermitted"),
    ],
)
def test_a_client_certificate_of_the_gateway_is_checked(ref: str, expected: str) -> None:
    """tls.backend.clientCertificateRef decides ResolvedRefs of the Gateway, and leaves it accepted."""
    world = World(gateway(spec=f"tls: {{backend: {{clientCertificateRef: {ref}}}}}"), tls.secret("pair"))

    assert expected == world.reason("ResolvedRefs", "Gateway", "web")
    assert "True/Accepted" == world.reason("Accepted", "Gateway", "web")


# --- addresses and parameters -----------------------------------------------------------------------------------------


def test_an_empty_address_value_asks_for_any() -> None:
    """GatewayAddressEmpty: an entry without a value is a wish for an address, not for a certain one."""
    world = World(gateway(spec="addresses: [{type: IPAddress}]"))

    assert 1 == len(world.ingested.frontends[WEB].addresses)


def test_a_static_address_of_the_pool_is_given() -> None:
    """GatewayStaticAddresses: the usable address is the only one."""
    world = World(gateway(spec="addresses: [{value: 127.64.1.2}]"))

    assert ("127.64.1.2",) == world.ingested.frontends[WEB].addresses


def test_an_address_outside_the_pool_leaves_the_gateway_accepted_and_without_address() -> None:
    """Accepted stays True; why there is no address is told for Programmed."""
    world = World(gateway(spec="addresses: [{value: 127.64.1.2}, {value: 192.0.2.1}]"))
    frontend = world.ingested.frontends[WEB]

    assert "True/Accepted" == world.reason("Accepted", "Gateway", "web")
    assert ((), "AddressNotUsable") == (frontend.addresses, frontend.reason)
    assert "192.0.2.1" in frontend.unusable


@pytest.mark.parametrize("address", ["{type: Hostname, value: a.io}", "{type: test/x, value: y}", "{value: nonsense}"])
def test_an_address_of_another_type_is_not_supported(address: str) -> None:
    """UnsupportedAddress: the whole Gateway is not accepted, and nothing of it served."""
    world = World(gateway(spec=f"addresses: [{address}]"))

    assert "False/UnsupportedAddress" == world.reason("Accepted", "Gateway", "web")
    assert ([], {}) == (sections(world), dict(world.ingested.frontends))


def test_parameters_that_nobody_reads_are_refused() -> None:
    """InvalidParameters on the Gateway."""
    world = World(gateway(spec="infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: knobs}}"))

    assert "False/InvalidParameters" == world.reason("Accepted", "Gateway", "web")
    assert [] == sections(world)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("defaultScope: All", "spec.defaultScope"),
        ("allowedListeners: {namespaces: {from: All}}", "spec.allowedListeners"),
        ("tls: {backend: {clientCertificateRef: {name: pair}}}", "spec.tls.backend"),
        ("addresses: [{routability: Cluster}]", "spec.addresses"),
    ],
)
def test_what_is_left_out_is_told(spec: str, field: str) -> None:
    """Optional parts that are not implemented and have no condition of their own are warnings."""
    world = World(gateway(spec=spec), tls.secret("pair"))

    assert [(WEB, field)] == list(world.ingested.warnings)


# --- work -------------------------------------------------------------------------------------------------------------


def test_a_renewed_certificate_touches_no_route() -> None:
    """A Secret's new content changes certificates, and nothing that routes depend on."""
    world = World(gateway(https("x")), tls.secret("pair"))
    world.apply(tls.secret("pair", crt=tls.chain(which=1), key=tls.private(which=1)))

    assert {"secrets": 1, "certificates/checked": 1, "certificates": 1} == world.changed
    assert tls.chain(which=1) == world.ingested.certificates[ObjectRef("Secret", "default", "pair")].chain
