"""What names, hosts, paths and texts are drawn from: few, so that they collide, and odd, so that they hurt."""

from __future__ import annotations

from typing import Final

GATEWAY_API: Final = "gateway.networking.k8s.io"

NAMESPACES: Final = ("default", "team", "team-a")
NAMES: Final = ("web", "a", "a-b")
DOTTED_NAMES: Final = ("a.b", "web.example.com", "n" * 63, ".".join(["n" * 60] * 4))
OURS: Final = ("tidegate", "cilium", "declared")
CLASSES: Final = (*OURS, "foreign", "absent")

HOSTS: Final = ("example.com", "a.example.com", "*.example.com")
ODD_HOSTS: Final = (
    "b.a.example.com",
    "*.a.example.com",
    "*.com",
    "com",
    "vhds",
    "localhost",
    "xn--mnchen-3ya.de",
    "192.0.2.1",
    "h" * 63 + ".example.com",
    ".".join(["h" * 49] * 5) + ".io",
    "a-.example",
)

PORTS: Final = (80, 443, 8080)
ODD_PORTS: Final = (1, 22, 8443, 15080, 45535, 45536, 65535)

PATHS: Final = ("/", "/a", "/a/b", "/a/")
ODD_PATHS: Final = (
    "/A",
    "/ab",
    "/a.b",
    "/a;b=c",
    "/a:b@c",
    "/~a!$&'()*+,=",
    "/%41",
    "/a%20b",
    "/%",
    "/%zz",
    "/a//b",
    "//",
    "/./a",
    "/../a",
    "/a/..",
    "/a%2Fb",
    "/a?b=c",
    "/a#b",
    "/ü",
    "/a b",
    '/"',
    "/\\",
    "/(.*)",
    "/[",
    "/{a}",
    "/*",
    "",
    "a",
    "*",
    "http://example.com/",
    "/" + "p" * 1000,
)
LOOSE_PATHS: Final = ("/\r\nx-a: b", "/\x00", "/\t", "\n")

REGEXES: Final = ("/a/.*", "/[a-z]+(/.*)?", ".*", "(yes|no)", "v[0-9]{1,3}")
ODD_REGEXES: Final = (
    "[",
    "(",
    ")",
    "*",
    "a**",
    "a|*",
    "(?=a)",
    "(?!a)",
    "(?<!a)b",
    "(a)\\1",
    "a{1001}",
    "a{2,1}",
    "((a{100}){10}){10}",
    "((a{30}){30})",
    "(a{500})",
    "(a{990})",
    "(a{1000})",
    "[a-z]{400}",
    "\\pN+",
    "\\p{Greek}{50}",
    "\\p{Nope}",
    "(?i)straße",
    "(?P<n>a)",
    "(?<n>a)",
    "(?P<n>a)(?P<n>b)",
    "\\C",
    "\\Q.*\\E",
    "\\Q",
    "[[:alpha:]]+",
    "[[:word:]]",
    "[z-a]",
    "\\x{10FFFF}",
    "\\x{110000}",
    "\\xff",
    "\\8",
    "\\",
    "(?s).",
    "(?m)^/a$",
    "(?x) a",
    "(?:)",
    "()",
    "^$",
    "/é+",
    "😀",
    "%",
    "(" * 60 + ")" * 60,
    "(" * 1001 + ")" * 1001,
    "|".join(f"/path-{n}" for n in range(40)),
)
LOOSE_REGEXES: Final = ("\x00", "\r\n", "a\x00b")

HEADER_NAMES: Final = ("x-a", "X-A", "x-b", "Accept")
ODD_HEADER_NAMES: Final = (
    "host",
    "Host",
    "content-length",
    "content-type",
    "connection",
    "transfer-encoding",
    "te",
    "upgrade",
    "cookie",
    "set-cookie",
    "authorization",
    "x-envoy-original-path",
    "x-envoy-retry-on",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "under_score",
    "~!#$%&'*+.^`|",
    "grpc-timeout",
    "h" * 256,
)
LOOSE_HEADER_NAMES: Final = (":path", ":authority", "a b", "a:b", "x-a\r\nx-b", "é")

TEXTS: Final = ("v", "value", "a b", "1")
ODD_TEXTS: Final = (
    "%",
    "%%",
    "100%",
    "%REQ(authorization)%",
    "%ENVIRONMENT(HOME)%",
    "%START_TIME%",
    "%NO_SUCH_COMMAND%",
    "%REQ(",
    "$1",
    "\\1",
    '"',
    "{a}",
    "a,b;c=d",
    "a\tb",
    "v" * 4096,
)
LOOSE_TEXTS: Final = ("", " ", " v ", "é", "😀", "a\r\nx-b: c", "a\x00b", "\x7f", "\x1b[31m")

DURATIONS: Final = ("0s", "1s", "500ms", "1h30m")
ODD_DURATIONS: Final = ("0ms", "1ms", "99999h99999h99999h99999h", "1m1h", "00001s", "0h")

ADDRESSES_BY_TYPE: Final = {
    "IPv4": ("10.0.0.1", "10.0.0.2", "192.0.2.7"),
    "IPv6": ("2001:db8::1", "2001:db8::2"),
    "FQDN": ("backend.example.com",),
}
ODD_ADDRESSES: Final = (
    "127.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "224.0.0.1",
    "255.255.255.255",
    "010.0.0.1",
    "10.0.0.256",
    "10.0.0.1/32",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "2001:db8::1",
    "2001:db8:0:0:0:0:0:1",
    "backend.example.com",
    "",
)
