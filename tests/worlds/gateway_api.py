"""Random objects of Gateway API: classes, Gateways, routes of three kinds, ReferenceGrants."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from tests.worlds import pools
from tests.worlds.backends import SECRETS, SERVICES, metadata, name_of, namespace_of
from tests.worlds.draw import Draw, Manifest

V1: Final = f"{pools.GATEWAY_API}/v1"
SECTIONS: Final = ("http", "https", "a", "b", "tls")

_METHODS: Final = ("GET", "POST", "CONNECT", "OPTIONS", "TRACE", "HEAD")
_ORIGINS: Final = (
    "*",
    "https://example.com",
    "https://*.example.com",
    "http://a.example.com:8080",
    "https://192.0.2.1",
)


def gateway_class(draw: Draw) -> Manifest:
    name = draw.usual(("declared", "foreign"), ("tidegate",), 0.1)
    ours = name == "declared" or draw.chance(0.5)
    spec: Manifest = {"controllerName": "tidegate.dev/controller" if ours else "example.com/controller"}
    if draw.chance(0.03):
        spec["parametersRef"] = {"group": "", "kind": "ConfigMap", "name": "absent", "namespace": "default"}
    return {"apiVersion": V1, "kind": "GatewayClass", "metadata": metadata(draw, name), "spec": spec}


def gateway(draw: Draw) -> Manifest:
    sections = draw.some(SECTIONS, 1, len(SECTIONS))
    spec: Manifest = {
        "gatewayClassName": draw.usual(pools.OURS, pools.CLASSES, 0.05),
        "listeners": [_listener(draw, section) for section in sections],
    }
    spec |= draw.fields(
        addresses=(0.15, lambda: draw.many(1, 2, lambda: _address(draw))),
        infrastructure=(0.05, lambda: {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "absent"}}),
    )
    return {
        "apiVersion": draw.one((V1, f"{pools.GATEWAY_API}/v1beta1")),
        "kind": "Gateway",
        "metadata": metadata(draw, name_of(draw), namespace_of(draw)),
        "spec": spec,
    }


def _address(draw: Draw) -> Manifest:
    value = draw.usual(("127.64.9.1", "127.64.9.2"), ("10.9.9.9", "::1", "nonsense", "", "127.64.0.0"), 0.3)
    return {"value": value} | draw.fields(
        type=(0.7, lambda: draw.usual(("IPAddress",), ("Hostname", "NamedAddress", "example.com/odd")))
    )


def _listener(draw: Draw, name: str) -> Manifest:
    protocol = draw.usual(("HTTP", "HTTP", "HTTP", "HTTPS", "TLS"), ("TCP", "UDP", "http", "example.com/odd"), 0.05)
    secure = protocol in {"HTTPS", "TLS"}
    usual_ports = (443, 8443) if secure else (80, 8080)
    found: Manifest = {
        "name": name,
        "protocol": protocol,
        "port": draw.usual(usual_ports, (*pools.PORTS, *pools.ODD_PORTS), 0.15),
    }
    if draw.chance(0.95 if secure else 0.02):
        found["tls"] = _listener_tls(draw, protocol)
    return found | draw.fields(
        hostname=(0.6, lambda: draw.usual(pools.HOSTS, pools.ODD_HOSTS)),
        allowedRoutes=(0.6, lambda: _allowed_routes(draw)),
    )


def _listener_tls(draw: Draw, protocol: str) -> Manifest:
    passthrough = draw.chance(0.6 if protocol == "TLS" else 0.05)
    found: Manifest = {"mode": "Passthrough"} if passthrough else draw.fields(mode=(0.5, lambda: "Terminate"))
    if not passthrough or draw.chance(0.1):
        found["certificateRefs"] = draw.many(0 if draw.chance(0.1) else 1, 3, lambda: _certificate_ref(draw))
    return found | draw.fields(options=(0.05, lambda: {"example.com/odd": "é"}))


def _certificate_ref(draw: Draw) -> Manifest:
    return {"name": draw.usual(SECRETS, ("absent",), 0.1)} | draw.fields(
        namespace=(0.3, lambda: namespace_of(draw)),
        kind=(0.2, lambda: draw.usual(("Secret",), ("ConfigMap", "Odd"))),
        group=(0.2, lambda: draw.usual(("",), ("example.com",))),
    )


def _allowed_routes(draw: Draw) -> Manifest:
    namespaces: Manifest = {"from": draw.usual(("All",), ("Same", "Selector"), 0.3)}
    if namespaces["from"] == "Selector" and draw.chance(0.9):
        namespaces["selector"] = draw.fields(
            matchLabels=(0.6, lambda: {"team": "a"}),
            matchExpressions=(
                0.6,
                lambda: [
                    {"key": "team", "operator": operator} | ({"values": ["a"]} if operator in {"In", "NotIn"} else {})
                    for operator in draw.some(("In", "NotIn", "Exists", "DoesNotExist", "Odd"), 1, 2)
                ],
            ),
        )
    kinds = [
        {"kind": kind} | draw.fields(group=(0.2, lambda: draw.usual((pools.GATEWAY_API,), ("example.com",))))
        for kind in draw.some(("HTTPRoute", "GRPCRoute", "TLSRoute", "UDPRoute", "Odd"), 1, 3)
    ]
    return {"namespaces": namespaces} | ({"kinds": kinds} if draw.chance(0.08) else {})


def _parent_refs(draw: Draw) -> list[Manifest]:
    def parent() -> Manifest:
        return {"name": name_of(draw)} | draw.fields(
            namespace=(0.6, lambda: namespace_of(draw)),
            sectionName=(0.2, lambda: draw.usual(SECTIONS, ("absent",))),
            port=(0.15, lambda: draw.one(pools.PORTS)),
            kind=(0.1, lambda: draw.usual(("Gateway",), ("Service", "ListenerSet", "Odd"))),
            group=(0.1, lambda: draw.usual((pools.GATEWAY_API,), ("", "example.com"))),
        )

    return draw.many(0 if draw.chance(0.05) else 1, 3, parent)


def _route(draw: Draw, kind: str, spec: Manifest, version: str = V1) -> Manifest:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": metadata(draw, name_of(draw), namespace_of(draw)),
        "spec": {"parentRefs": _parent_refs(draw)} | spec,
    }


def _hostnames(draw: Draw) -> list[str]:
    return draw.some((*pools.HOSTS, *(pools.ODD_HOSTS if draw.chance(0.2) else ())), 1, 3)


def http_route(draw: Draw) -> Manifest:
    spec = draw.fields(
        hostnames=(0.6, lambda: _hostnames(draw)),
        rules=(0.95, lambda: draw.many(1, 4, lambda: _http_rule(draw))),
    )
    return _route(draw, "HTTPRoute", spec, draw.one((V1, f"{pools.GATEWAY_API}/v1beta1")))


def _http_rule(draw: Draw) -> Manifest:
    filters = _filters(draw)
    redirects = any(f["type"] == "RequestRedirect" for f in filters)
    return draw.fields(
        name=(0.2, lambda: draw.usual(("rule", "rule-2"), ("a.b", "r" * 253))),
        matches=(0.85, lambda: draw.many(0 if draw.chance(0.05) else 1, 3, lambda: _http_match(draw))),
        filters=(1.0 if filters else 0.0, lambda: filters),
        backendRefs=(0.1 if redirects else 0.92, lambda: draw.many(0, 3, lambda: _backend_ref(draw, filtered=True))),
        timeouts=(
            0.2,
            lambda: draw.fields(
                request=(0.7, lambda: draw.usual(pools.DURATIONS, pools.ODD_DURATIONS)),
                backendRequest=(0.7, lambda: draw.usual(pools.DURATIONS, pools.ODD_DURATIONS)),
            ),
        ),
        retry=(
            0.15,
            lambda: draw.fields(
                codes=(0.8, lambda: draw.some((400, 429, 500, 503, 599), 0, 4)),
                attempts=(0.8, lambda: draw.usual((0, 1, 3), (2**31 - 1, 2**31, 2**63 - 1), 0.1)),
                backoff=(0.6, lambda: draw.usual(pools.DURATIONS, pools.ODD_DURATIONS)),
            ),
        ),
        sessionPersistence=(0.08, lambda: _session_persistence(draw)),
    )


def _session_persistence(draw: Draw) -> Manifest:
    found: Manifest = {"type": draw.one(("Cookie", "Header"))}
    if found["type"] == "Header":
        found["header"] = {"name": draw.one(pools.HEADER_NAMES)}
    return found | draw.fields(
        absoluteTimeout=(0.5, lambda: draw.one(pools.DURATIONS)),
        cookie=(
            0.6,
            lambda: draw.fields(
                name=(0.7, lambda: draw.one(("session", "~!#"))),
                path=(0.5, lambda: draw.usual(pools.PATHS, pools.ODD_PATHS)),
                lifetimeType=(0.5, lambda: draw.one(("Permanent", "Session"))),
            ),
        ),
    )


def _http_match(draw: Draw) -> Manifest:
    return draw.fields(
        path=(0.8, lambda: _path_match(draw)),
        method=(0.2, lambda: draw.one(_METHODS)),
        headers=(0.25, lambda: draw.many(1, 3, lambda: _value_match(draw, schema_checked=True))),
        queryParams=(0.2, lambda: draw.many(1, 3, lambda: _value_match(draw, schema_checked=False))),
    )


def _path_match(draw: Draw) -> Manifest:
    path_type = draw.one(("PathPrefix", "PathPrefix", "Exact", "RegularExpression"))
    odd = pools.ODD_PATHS + (pools.LOOSE_PATHS if draw.loose else ())
    value = draw.usual(pools.PATHS, odd)
    if path_type == "RegularExpression":
        value = _regex(draw, 1024)
    return draw.fields(type=(0.9, lambda: path_type), value=(0.95, lambda: value))


def _regex(draw: Draw, longest: int) -> str:
    return draw.usual(pools.REGEXES, pools.ODD_REGEXES + (pools.LOOSE_REGEXES if draw.loose else ()), 0.4)[:longest]


def _value_match(draw: Draw, *, schema_checked: bool) -> Manifest:
    """`schema_checked` values are printable ASCII unless the draw is loose."""
    loose = draw.loose or not schema_checked
    regex = draw.chance(0.3)
    value = (
        _regex(draw, 1024) if regex else draw.usual(pools.TEXTS, pools.ODD_TEXTS + (pools.LOOSE_TEXTS if loose else ()))
    )
    if not draw.loose:
        value = value or "v"
        if schema_checked and not value.isascii():
            value = "v"
    return {"name": _header_name(draw), "value": value[:1024]} | draw.fields(
        type=(1.0 if regex else 0.5, lambda: "RegularExpression" if regex else "Exact")
    )


def _header_name(draw: Draw) -> str:
    odd = pools.ODD_HEADER_NAMES + (pools.LOOSE_HEADER_NAMES if draw.loose else ())
    return draw.usual(pools.HEADER_NAMES, odd, 0.25)


def _header_modifier(draw: Draw) -> Manifest:
    def header() -> Manifest:
        odd = pools.ODD_TEXTS + (pools.LOOSE_TEXTS if draw.loose else ())
        return {"name": _header_name(draw), "value": draw.usual(pools.TEXTS, odd, 0.3)}

    return draw.fields(
        set=(0.6, lambda: draw.many(1, 3, header)),
        add=(0.6, lambda: draw.many(1, 3, header)),
        remove=(0.4, lambda: draw.some(pools.HEADER_NAMES + pools.ODD_HEADER_NAMES, 1, 3)),
    )


def _path_modifier(draw: Draw) -> Manifest:
    kind = draw.one(("ReplaceFullPath", "ReplacePrefixMatch"))
    value = draw.usual(("/", "/x", "/x/", ""), pools.ODD_PATHS + (pools.LOOSE_PATHS if draw.loose else ()), 0.3)
    field = "replaceFullPath" if (kind == "ReplaceFullPath") == draw.chance(0.97) else "replacePrefixMatch"
    return {"type": kind} | ({field: value} if draw.chance(0.97) else {})


def _filters(draw: Draw) -> list[Manifest]:
    return draw.many(1, 3, lambda: _filter(draw)) if draw.chance(0.4) else []


def _hostname(draw: Draw) -> str:
    return draw.one(
        [host for host in pools.HOSTS + pools.ODD_HOSTS if not host.startswith("*") and host != "a-.example"]
    )


def _filter(draw: Draw) -> Manifest:
    kind = draw.one(
        (
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestMirror",
            "RequestRedirect",
            "URLRewrite",
            "CORS",
            "ExtensionRef",
            "ExternalAuth",
        )
    )
    if kind in {"ExtensionRef", "ExternalAuth"} and draw.chance(0.8):
        kind = "RequestHeaderModifier"
    field = {"CORS": "cors", "URLRewrite": "urlRewrite"}.get(kind, kind[0].lower() + kind[1:])
    return {"type": kind} | ({field: _filter_body(draw, kind)} if draw.chance(0.98) else {})


def _filter_body(draw: Draw, kind: str) -> Manifest:
    match kind:
        case "RequestHeaderModifier" | "ResponseHeaderModifier":
            return _header_modifier(draw)
        case "RequestMirror":
            return {"backendRef": _backend_object(draw)} | draw.fields(
                percent=(0.4, lambda: draw.one((0, 1, 50, 100))),
                fraction=(
                    0.2,
                    lambda: (
                        {"numerator": draw.one((0, 1, 3, 2**31 - 1))}
                        | draw.fields(denominator=(0.7, lambda: draw.one((1, 3, 7, 100, 1000, 10_000, 2**31 - 1))))
                    ),
                ),
            )
        case "RequestRedirect":
            return draw.fields(
                scheme=(0.4, lambda: draw.one(("http", "https"))),
                hostname=(0.4, lambda: _hostname(draw)),
                path=(0.4, lambda: _path_modifier(draw)),
                port=(0.3, lambda: draw.one((80, 443, 8080, 65535))),
                statusCode=(0.6, lambda: draw.one((301, 302, 303, 307, 308))),
            )
        case "URLRewrite":
            return draw.fields(hostname=(0.5, lambda: _hostname(draw)), path=(0.7, lambda: _path_modifier(draw)))
        case "CORS":
            return _cors(draw)
        case "ExternalAuth":
            return {"protocol": draw.one(("HTTP", "GRPC")), "backendRef": _backend_object(draw)}
        case _:
            return {"group": "example.com", "kind": "Odd", "name": "a"}


def _cors(draw: Draw) -> Manifest:
    return draw.fields(
        allowOrigins=(0.9, lambda: draw.some(_ORIGINS, 1, 3)),
        allowCredentials=(0.4, lambda: draw.chance(0.5)),
        allowMethods=(0.6, lambda: draw.one((["*"], ["GET", "POST"], ["PATCH"]))),
        allowHeaders=(0.6, lambda: draw.one((["*"], ["x-a", "X-B"]))),
        exposeHeaders=(0.4, lambda: draw.one((["*"], ["x-a"]))),
        maxAge=(0.4, lambda: draw.one((1, 5, 2**31 - 1))),
    )


def _backend_object(draw: Draw) -> Manifest:
    return {"name": draw.usual(SERVICES, ("absent",), 0.05)} | draw.fields(
        namespace=(0.15, lambda: draw.one(pools.NAMESPACES)),
        port=(0.97, lambda: draw.usual((80, 8080), (443, 81, 65535))),
        kind=(0.1, lambda: draw.usual(("Service",), ("ServiceImport", "Odd"))),
        group=(0.1, lambda: draw.usual(("",), ("example.com",))),
    )


def _backend_ref(draw: Draw, *, filtered: bool) -> Manifest:
    share = 0.12 if filtered else 0.0
    return _backend_object(draw) | draw.fields(
        weight=(0.4, lambda: draw.usual((0, 1, 2), (1_000_000, 999_999))),
        filters=(share, lambda: draw.many(1, 2, lambda: _filter(draw))),
    )


def grpc_route(draw: Draw) -> Manifest:
    spec = draw.fields(
        hostnames=(0.6, lambda: _hostnames(draw)),
        rules=(0.95, lambda: draw.many(0 if draw.chance(0.05) else 1, 3, lambda: _grpc_rule(draw))),
    )
    return _route(draw, "GRPCRoute", spec)


def _grpc_rule(draw: Draw) -> Manifest:
    kinds = {"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"}
    filters = [f for f in _filters(draw) if f["type"] in kinds]
    return draw.fields(
        name=(0.2, lambda: draw.one(("rule", "rule-2"))),
        matches=(0.8, lambda: draw.many(0 if draw.chance(0.05) else 1, 3, lambda: _grpc_match(draw))),
        filters=(1.0 if filters else 0.0, lambda: filters),
        backendRefs=(0.92, lambda: draw.many(0, 3, lambda: _backend_ref(draw, filtered=False))),
        sessionPersistence=(0.05, lambda: _session_persistence(draw)),
    )


def _grpc_match(draw: Draw) -> Manifest:
    def name(usual: tuple[str, ...]) -> str:
        odd = ("", "a/b", "/", "%41", "é", "a b", ".*", "[", "n" * 1024, *pools.ODD_REGEXES)
        return draw.usual(usual, (*odd, "\r\n") if draw.loose else odd)[:1024]

    return draw.fields(
        method=(
            0.85,
            lambda: draw.fields(
                type=(0.6, lambda: draw.one(("Exact", "RegularExpression"))),
                service=(0.8, lambda: name(("demo.Echo", "Echo", "demo..*"))),
                method=(0.8, lambda: name(("Say", "say", "S.*"))),
            ),
        ),
        headers=(0.3, lambda: draw.many(1, 2, lambda: _value_match(draw, schema_checked=False))),
    )


def tls_route(draw: Draw) -> Manifest:
    version = draw.one((V1, V1, f"{pools.GATEWAY_API}/v1alpha3", f"{pools.GATEWAY_API}/v1alpha2"))
    old = version.endswith("v1alpha2")
    rule: Any = lambda: {"backendRefs": draw.many(1, 3, lambda: _backend_ref(draw, filtered=False))}  # noqa: E731
    spec: Manifest = {"rules": draw.many(1, 2 if old else 1, rule)}
    if not old or draw.chance(0.7):
        spec["hostnames"] = _hostnames(draw)
    return _route(draw, "TLSRoute", spec, version)


def reference_grant(draw: Draw) -> Manifest:
    froms = [
        {
            "group": draw.usual((pools.GATEWAY_API,), ("", "example.com"), 0.05),
            "kind": draw.one(("Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute")),
            "namespace": draw.one(pools.NAMESPACES),
        }
        for _ in range(draw.random.randint(1, 3))
    ]
    tos = [
        {"group": draw.usual(("",), ("example.com",), 0.05), "kind": kind}
        | draw.fields(name=(0.3, partial(draw.one, SECRETS if kind == "Secret" else SERVICES)))
        for kind in draw.some(("Service", "Secret"), 1, 2)
    ]
    return {
        "apiVersion": f"{pools.GATEWAY_API}/{draw.one(('v1', 'v1beta1'))}",
        "kind": "ReferenceGrant",
        "metadata": metadata(draw, draw.one(pools.NAMES), namespace_of(draw)),
        "spec": {"from": froms, "to": tos},
    }
