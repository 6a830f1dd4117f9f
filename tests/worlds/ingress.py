"""Random Ingresses and IngressClasses, with every annotation that is known."""

from __future__ import annotations

from typing import Final

from tests.worlds import pools
from tests.worlds.backends import HEADERS, SECRETS, SERVICES, draw_texts, metadata, name_of, namespace_of
from tests.worlds.draw import Draw, Manifest
from xds_server.ingestion.annotations import NGINX, TABLE

LEGACY_CLASS: Final = "kubernetes.io/ingress.class"

_VALUES: Final = {
    "rewrite-target": ("/$1", "/x/$2", "/", "/$9", "$1", "x", "/a$b", "/\\1", "/%41", "/é"),
    "custom-headers": tuple(f"{namespace}/{HEADERS}" for namespace in pools.NAMESPACES),
    "canary-weight": ("0", "10", "100", "1000000", "-1"),
    "canary-weight-total": ("100", "1000", "1", "0"),
    "canary-by-header": ("x-canary", "X-A", "host"),
    "canary-by-header-pattern": pools.REGEXES + pools.ODD_REGEXES,
    "permanent-redirect": ("https://example.com/new", "https://$host/", "//x", "https://example.com/%41?a=b#c"),
    "temporal-redirect": ("https://example.com$request_uri", "http://[2001:db8::1]:8080$request_uri", "ftp://x"),
    "app-root": ("/app", "/app?x=y", "app"),
    "whitelist-source-range": ("10.0.0.0/8", "10.0.0.1/8, 2001:db8::/32", "0.0.0.0/0,::/0", "10.0.0.0/33", ""),
    "denylist-source-range": ("10.1.0.0/16", "::/0", "x"),
    "cors-allow-origin": ("*", "https://example.com", "https://*.example.com:8443", "https://a.b,http://c.d", "null"),
    "proxy-body-size": ("0", "1", "8m", "4g", "-1"),
    "limit-rps": ("0", "1", "1000000", "x"),
    "session-cookie-name": ("route", "a b", "__Host-a", "~"),
    "session-cookie-path": ("/", "/a;b", "/é"),
    "session-cookie-max-age": ("0", "1", "315360000", "-1"),
    "proxy-connect-timeout": ("1", "5", "315360000", "0"),
    "request-timeout": ("0", "1s", "1ns", "87600h", "x"),
    "loadbalancer-mode": ("dedicated", "shared", "Shared"),
}
_ODD_VALUES: Final = ("", " ", "true", "false", "0", "-1", "x" * 17_000, "%REQ(x)%", "a\r\nb: c", "é", "$1", "\x00")

# Some annotations decide over others, and so are drawn more often than their share of the table.
_FAVOURITES: Final = (
    "rewrite-target",
    "use-regex",
    "canary",
    "canary-weight",
    "enable-cors",
    "ssl-redirect",
    "backend-protocol",
    "affinity",
)


def ingress(draw: Draw) -> Manifest:
    annotations = _annotations(draw)
    spec: Manifest = {}
    if draw.chance(0.9):
        spec["ingressClassName"] = draw.usual(pools.OURS, pools.CLASSES)
    elif draw.chance(0.5):
        annotations[LEGACY_CLASS] = draw.one(pools.CLASSES)
    spec |= draw.fields(
        defaultBackend=(0.2, lambda: _backend(draw)),
        rules=(0.9, lambda: draw.many(1, 3, lambda: _rule(draw))),
        tls=(0.35, lambda: draw.many(1, 2, lambda: _tls(draw))),
    )
    if draw.chance(0.5):
        mode = "ingress.tidegate.dev/loadbalancer-mode"
        annotations.setdefault(mode, draw.one(("shared", "dedicated")))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(
            draw,
            name_of(draw),
            namespace_of(draw),
            annotations=annotations,
        ),
        "spec": spec,
    }


def _annotations(draw: Draw) -> dict[str, str]:
    if draw.chance(0.35):
        return {}
    names = draw.some(tuple(TABLE), 0, 3) + [NGINX + name for name in draw.some(_FAVOURITES, 0, 3)]
    return {name: _value(draw, name) for name in names}


def _value(draw: Draw, name: str) -> str:
    if draw.chance(0.1):
        return draw.one(_ODD_VALUES) if draw.loose else draw.one((*_ODD_VALUES[:7], *draw_texts(draw)))
    choices = _VALUES.get(name.rpartition("/")[2], ())
    return draw.one(choices) if choices and draw.chance(0.6) else TABLE[name].example


def _rule(draw: Draw) -> Manifest:
    found: Manifest = draw.fields(host=(0.8, lambda: draw.usual(pools.HOSTS, pools.ODD_HOSTS)))
    if draw.chance(0.95):
        found["http"] = {"paths": draw.many(1, 4, lambda: _path(draw))}
    return found


def _path(draw: Draw) -> Manifest:
    path_type = draw.one(("Exact", "Prefix", "Prefix", "ImplementationSpecific"))
    choices = pools.REGEXES if path_type == "ImplementationSpecific" else pools.PATHS
    odd = (*pools.ODD_PATHS, *pools.ODD_REGEXES, *(pools.LOOSE_PATHS if draw.loose else ()))
    found: Manifest = {"pathType": path_type, "backend": _backend(draw)}
    if draw.chance(0.95):
        found["path"] = draw.usual((*choices, *pools.PATHS), odd, 0.2)
    return found


def _backend(draw: Draw) -> Manifest:
    if draw.chance(0.05):
        return draw.one(({}, {"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "b"}}))
    port: Manifest = {"number": draw.usual((80, 8080), (443, 81, 65535))}
    if draw.chance(0.3):
        port = draw.one(({"name": "http"}, {"name": "web"}, {"name": "absent"}))
    return {"service": {"name": draw.usual(SERVICES, ("absent",), 0.08), "port": port}}


def _tls(draw: Draw) -> Manifest:
    return draw.fields(
        hosts=(0.9, lambda: draw.many(0, 3, lambda: draw.usual(pools.HOSTS, pools.ODD_HOSTS))),
        secretName=(0.8, lambda: draw.usual(SECRETS, ("absent",), 0.1)),
    )


def ingress_class(draw: Draw) -> Manifest:
    name = draw.usual(("declared", "foreign"), ("cilium",), 0.1)
    ours = name == "declared" or draw.chance(0.2)
    annotations = {"ingressclass.kubernetes.io/is-default-class": draw.one(("true", "false"))}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": metadata(draw, name, annotations=annotations if draw.chance(0.4) else {}),
        "spec": {"controller": "tidegate.dev/controller" if ours else "example.com/controller"},
    }
