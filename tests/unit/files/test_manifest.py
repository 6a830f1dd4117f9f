"""A document gives its objects, or says what is wrong with them, where, and the way out."""
# ruff: noqa: E501  # a manifest in a table is one line

from __future__ import annotations

from base64 import b64decode

import pytest

from xds_server.files.manifest import Reading, read
from xds_server.files.problems import NOWHERE
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import EndpointSlice, Secret, Service
from xds_server.objects.routes import HTTPRoute

SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
  - port: 80
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: gw}]
  rules:
"""
GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: tidegate
  listeners:
"""
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1}
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: keys}
"""
POOL = """\
apiVersion: tidegate.dev/v1alpha1
kind: LoadBalancerIPPool
metadata: {name: edge}
spec:
  blocks:
"""
PARAMETERS = """\
apiVersion: tidegate.dev/v1alpha1
kind: GatewayParameters
metadata: {name: edge}
spec:
  exposure:
    type: """

# Manifest, field, and a part of the message; the line that must be named ends in "# here".
REFUSED = {
    "an unknown field": (ROUTE + "  - matchs: []  # here", "spec.rules[0].matchs", 'did you mean "matches"?'),
    "a field of another case": (SERVICE.replace("ports:", "Ports:  # here"), "spec.Ports", 'did you mean "ports"?'),
    "a core field that nobody knows": (SERVICE + "  sessions: 1  # here", "spec.sessions", "unknown field"),
    "a quoted port": (SERVICE.replace("80", '"80"  # here'), "spec.ports[0].port", "write 80 without quotes"),
    "a port of words": (SERVICE.replace("80", "eighty  # here"), "spec.ports[0].port", "write a number in digits"),
    "a port out of bounds": (SERVICE.replace("80", "65536  # here"), "spec.ports[0].port", "from 1 to 65535"),
    "text that looks like a number": (
        SERVICE.replace("  name: web", "  name: web\n  labels:\n    version: 1.20  # here"),
        "metadata.labels.version",
        'must be text, not 1.2; quote it: "1.2"',
    ),
    "text that looks like a boolean": (
        SERVICE.replace("  name: web", "  name: web\n  labels: {beta: yes}  # here"),
        "metadata.labels.beta",
        "quote it",
    ),
    "a list that is none": (SERVICE.replace("  - port: 80", "    port: 80").replace("ports:", "ports:  # here"), "spec.ports", "must be a list"),
    "no name": (SERVICE.replace("name: web", "labels: {}").replace("metadata:", "metadata:  # here"), "metadata.name", "name the object"),
    "a name with a dot": (SERVICE.replace("web", "web.example  # here"), "metadata.name", "use up to 63 of a-z, 0-9, -"),
    "a name in upper case": (SERVICE.replace("web", "Web  # here"), "metadata.name", "'Web' is no name"),
    "a namespace that is none": (ROUTE.replace("shop}", "a/b}  # here") + "  - {}", "metadata.namespace", "is no namespace"),
    "a label value": (SERVICE.replace("  name: web", "  name: web\n  labels: {a: 'b c'}  # here"), "metadata.labels.a", "is no label value"),
    "no ports": (SERVICE.replace("  ports:\n  - port: 80\n", "  type: ClusterIP\n").replace("spec:", "spec:  # here"), "spec.ports", "list a port"),
    "unnamed ports": (SERVICE + "  - port: 81  # here", "spec.ports[1].name", "name the port"),
    "ports that are alike": (
        SERVICE.replace("- port: 80", "- {port: 80, name: a}\n  - {port: 80, name: b}  # here"),
        "spec.ports[1]",
        "port and protocol must be unique",
    ),
    "a type of Service": (SERVICE + "  type: Loadbalancer  # here", "spec.type", '"LoadBalancer"'),
    "a cluster's address that is none": (SERVICE + "  clusterIP: 10.97.0.300  # here", "spec.clusterIP", "is no IP address"),
    "cluster addresses of which one is none": (
        SERVICE + "  clusterIPs: [10.97.0.3, fd00::x]  # here",
        "spec.clusterIPs[1]",
        "is no IP address",
    ),
    "two cluster addresses that should be one": (
        SERVICE + "  clusterIP: 10.97.0.3\n  clusterIPs: [10.97.0.4]  # here",
        "spec.clusterIPs[0]",
        "is not what clusterIP is",
    ),
    "an address of the other family": (
        SLICE + "addressType: IPv4\nendpoints:\n- addresses:\n  - ::1  # here",
        "endpoints[0].addresses[0]",
        "is no IPv4 address",
    ),
    "no addressType": (SLICE.replace("apiVersion", "endpoints: []  # here\napiVersion"), "addressType", "is required"),
    "a class that is a number": (
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\nspec: {controller: 1}  # here",
        "spec.controller",
        "must be text",
    ),
    "an Ingress without a backend": (
        INGRESS + "  - http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend: {}  # here",
        "spec.rules[0].http.paths[0].backend",
        "needs either service or resource",
    ),
    "an Ingress for an address": (INGRESS + "  - host: 10.0.0.1  # here", "spec.rules[0].host", "is an address"),
    "an Ingress for a host in upper case": (INGRESS + "  - host: Shop.example  # here", "spec.rules[0].host", "lower case"),
    "an Ingress path without a slash": (
        INGRESS + "  - http:\n      paths:\n      - pathType: Prefix\n        path: shop  # here\n        backend: {service: {name: a, port: {number: 1}}}",
        "spec.rules[0].http.paths[0].path",
        "does not begin with /",
    ),
    "an Ingress port of two kinds": (
        INGRESS + "  - http:\n      paths:\n      - pathType: Prefix\n        path: /\n        backend: {service: {name: a, port: {}}}  # here",
        "spec.rules[0].http.paths[0].backend.service.port",
        "needs either name or number",
    ),
    "two listeners of one name": (
        GATEWAY + "  - {name: a, port: 80, protocol: HTTP}\n  - {name: a, port: 81, protocol: HTTP}  # here",
        "spec.listeners[1]",
        "has the same name as item 0",
    ),
    "two listeners for the same": (
        GATEWAY + "  - {name: a, port: 80, protocol: HTTP}\n  - {name: b, port: 80, protocol: HTTP}  # here",
        "spec.listeners[1]",
        "combination of port, protocol and hostname",
    ),
    "a hostname that is an address": (
        GATEWAY + "  - name: a\n    port: 80\n    protocol: HTTP\n    hostname: 10.0.0.1  # here",
        "spec.listeners[0].hostname",
        "is an address",
    ),
    "plain HTTP with certificates": (
        GATEWAY + "  - name: a\n    port: 80\n    protocol: HTTP\n    tls: {certificateRefs: [{name: a}]}  # here",
        "spec.listeners[0].tls",
        "must not be set for protocol HTTP",
    ),
    "HTTPS that passes through": (
        GATEWAY + "  - name: a\n    port: 443\n    protocol: HTTPS\n    tls: {mode: Passthrough}  # here",
        "spec.listeners[0].tls.mode",
        "must be Terminate",
    ),
    "HTTPS without certificates": (
        GATEWAY + "  - name: a\n    port: 443\n    protocol: HTTPS\n    tls: {mode: Terminate}  # here",
        "spec.listeners[0].tls.certificateRefs",
        "name a Secret",
    ),
    "TLS without tls": (GATEWAY + "  - {name: a, port: 443, protocol: TLS}  # here", "spec.listeners[0].tls", "is required"),
    "a path without a slash": (
        ROUTE + "  - matches:\n    - path:\n        value: shop  # here",
        "spec.rules[0].matches[0].path.value",
        "does not begin with /",
    ),
    "a path that climbs": (
        ROUTE + "  - matches:\n    - path:\n        value: /a/../b  # here",
        "spec.rules[0].matches[0].path.value",
        "contains '/../'",
    ),
    "an unknown match": (
        ROUTE + "  - matches:\n    - path: {type: Prefix, value: /}  # here",
        "spec.rules[0].matches[0].path.type",
        '"PathPrefix"',
    ),
    "a method in lower case": (ROUTE + "  - matches:\n    - method: get  # here", "spec.rules[0].matches[0].method", '"GET"'),
    "a header that comes twice": (
        ROUTE + "  - matches:\n    - headers:\n      - {name: a, value: b}\n      - {name: a, value: c}  # here",
        "spec.rules[0].matches[0].headers[1]",
        "has the same name",
    ),
    "a hostname of underscores": (
        ROUTE.replace("spec:", "spec:\n  hostnames: [a_b.example]  # here") + "  - {}",
        "spec.hostnames[0]",
        "'a_b.example' is not allowed; it must match",
    ),
    "a route for an address": (
        ROUTE.replace("spec:", "spec:\n  hostnames: [10.0.0.1]  # here") + "  - {}",
        "spec.hostnames[0]",
        "is an address",
    ),
    "a backend without a port": (ROUTE + "  - backendRefs:\n    - name: web  # here", "spec.rules[0].backendRefs[0].port", "set the Service's port"),
    "a redirect with backends": (
        ROUTE
        + "  - backendRefs: [{name: a, port: 80}]\n    filters:  # here\n    - {type: RequestRedirect, requestRedirect: {port: 80}}",
        "spec.rules[0].filters",
        "backendRefs must be empty",
    ),
    "a filter without its body": (ROUTE + "  - filters:\n    - type: URLRewrite  # here", "spec.rules[0].filters[0].urlRewrite", "add urlRewrite"),
    "a filter with another's body": (
        ROUTE + "  - filters:\n    - type: CORS\n      cors: {}\n      urlRewrite: {}  # here",
        "spec.rules[0].filters[0].urlRewrite",
        "does not belong to a filter of type CORS",
    ),
    "a filter that comes twice": (
        ROUTE + "  - filters:\n    - {type: CORS, cors: {}}\n    - {type: CORS, cors: {}}  # here",
        "spec.rules[0].filters[1]",
        "there twice",
    ),
    "a redirect and a rewrite": (
        ROUTE
        + "  - filters:  # here\n    - {type: URLRewrite, urlRewrite: {hostname: a}}\n    - {type: RequestRedirect, requestRedirect: {}}",
        "spec.rules[0].filters",
        "exclude each other",
    ),
    "a prefix rewrite of an exact path": (
        ROUTE
        + "  - matches: [{path: {type: Exact, value: /a}}]\n    filters:\n    - type: URLRewrite\n"
        + "      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}  # here",
        "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch",
        "exactly one match",
    ),
    "a path modifier of another type": (
        ROUTE + "  - filters:\n    - type: URLRewrite\n      urlRewrite: {path: {type: ReplaceFullPath, replacePrefixMatch: /b}}  # here",
        "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath",
        "is required when type is ReplaceFullPath",
    ),
    "a mirror of two shares": (
        ROUTE
        + "  - filters:\n    - type: RequestMirror\n      requestMirror:  # here\n        backendRef: {name: a, port: 80}\n"
        + "        percent: 10\n        fraction: {numerator: 1}",
        "spec.rules[0].filters[0].requestMirror",
        "percent and fraction exclude each other",
    ),
    "a star beside origins": (
        ROUTE + "  - filters:\n    - type: CORS\n      cors:\n        allowOrigins: ['*', 'https://a.example']  # here",
        "spec.rules[0].filters[0].cors.allowOrigins",
        "must stand alone",
    ),
    "an attempt that takes longer than all": (
        ROUTE + "  - timeouts:\n      request: 1s\n      backendRequest: 1500ms  # here",
        "spec.rules[0].timeouts.backendRequest",
        "longer than timeouts.request",
    ),
    "a weight": (ROUTE + "  - backendRefs:\n    - {name: a, port: 1, weight: -1}  # here", "spec.rules[0].backendRefs[0].weight", "from 0 to 1000000"),
    "the same parent twice": (
        ROUTE.replace("[{name: gw}]", "\n  - name: gw\n  - name: gw  # here") + "  - {}",
        "spec.parentRefs[1]",
        "tell them apart by sectionName or port",
    ),
    "a gRPC method of nothing": (
        ROUTE.replace("HTTPRoute", "GRPCRoute") + "  - matches:\n    - method: {}  # here",
        "spec.rules[0].matches[0].method",
        "needs service or method",
    ),
    "a TLSRoute without hostnames": (
        ROUTE.replace("HTTPRoute", "TLSRoute").replace("spec:", "spec:  # here") + "  - backendRefs: [{name: a, port: 1}]",
        "spec.hostnames",
        "is required",
    ),
    "a grant from nowhere": (
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: a}\nspec:\n  from: []  # here\n  to: [{group: '', kind: Secret}]",
        "spec.from",
        "needs 1 or more items",
    ),
    "the older name of blocks": (POOL.replace("blocks:", "cidrs:  # here") + "  - cidr: 192.0.2.0/24", "spec.cidrs", 'it is called "blocks" now'),
    "a block of nothing": (POOL + "  - {}  # here", "spec.blocks[0]", "needs either cidr, or start"),
    "a block twice": (POOL + "  - {cidr: 192.0.2.0/24, start: 192.0.2.1}  # here", "spec.blocks[0]", "set one of them"),
    "a network without a prefix": (POOL + "  - cidr: 192.0.2.0  # here", "spec.blocks[0].cidr", "write it as 192.0.2.0/24"),
    "an address of letters": (POOL + "  - start: nine  # here", "spec.blocks[0].start", "is no IP address"),
    "an end alone": (POOL + "  - cidr: 192.0.2.0/24\n    stop: 192.0.2.9  # here", "spec.blocks[0].stop", "needs a start"),
    "parameters of a Service for an address": (PARAMETERS + "Address\n    service: {}  # here", "spec.exposure.service", "set spec.exposure.type to Service"),
    "a class of a NodePort": (PARAMETERS + "Service\n    service:\n      type: NodePort\n      loadBalancerClass: a  # here", "spec.exposure.service.loadBalancerClass", "is for type LoadBalancer"),
    "sources of a ClusterIP": (PARAMETERS + "Service\n    service:\n      type: ClusterIP\n      loadBalancerSourceRanges: []  # here", "spec.exposure.service.loadBalancerSourceRanges", "is for type LoadBalancer"),
    "node ports of a ClusterIP": (PARAMETERS + "Service\n    service:\n      type: ClusterIP\n      nodePorts: [{port: 80, nodePort: 30080}]  # here", "spec.exposure.service.nodePorts", "use type NodePort"),
    "a policy of a ClusterIP": (PARAMETERS + "Service\n    service:\n      type: ClusterIP\n      externalTrafficPolicy: Local  # here", "spec.exposure.service.externalTrafficPolicy", "change the type"),
    "two families in one stack": (PARAMETERS + "Service\n    service:\n      ipFamilyPolicy: SingleStack\n      ipFamilies: [IPv4, IPv6]  # here", "spec.exposure.service.ipFamilies", "PreferDualStack"),
    "a source that is no network": (PARAMETERS + "Service\n    service:\n      loadBalancerSourceRanges:\n      - 192.0.2.1  # here", "spec.exposure.service.loadBalancerSourceRanges[0]", "is no network"),
    "a label that is ours": (PARAMETERS + "Service\n    service:\n      labels:\n        tidegate.dev/x: z  # here", "spec.exposure.service.labels['tidegate.dev/x']", "another prefix"),
    "a duration as a number": (ROUTE + "  - timeouts:\n      request: 10  # here", "spec.rules[0].timeouts.request", "write 10s"),
    "a duration as a fraction": (ROUTE + "  - timeouts:\n      request: 0.5  # here", "spec.rules[0].timeouts.request", "write 500ms"),
    "a duration of digits": (ROUTE + "  - timeouts:\n      request: '10'  # here", "spec.rules[0].timeouts.request", "write 10s"),
    "a duration of words": (ROUTE + "  - timeouts:\n      request: ten seconds  # here", "spec.rules[0].timeouts.request", "write it as 10s, 500ms or 1h30m"),
    "a range of two families": (POOL + "  - start: 192.0.2.9\n    stop: '::1'  # here", "spec.blocks[0].stop", "for each family"),
    "a field that pools have not": (POOL + "  - start: 192.0.2.9\n    end: 192.0.2.10  # here", "spec.blocks[0].end", "unknown field"),
    "an unknown kind": ("apiVersion: v1\nkind: Servcie  # here\nmetadata: {name: a}", "kind", 'did you mean "Service"?'),
    "a version that is not served": (
        "apiVersion: extensions/v1beta1  # here\nkind: Ingress\nmetadata: {name: a}",
        "apiVersion",
        "use apiVersion: networking.k8s.io/v1",
    ),
    "no kind": ("apiVersion: v1  # here\nmetadata: {name: a}", "kind", "is required"),
    "a scalar": ("just text  # here", "", "is text, and no object"),
    "a list": ("- a  # here", "", "is a list, and no object"),
    "a Secret that is no base64": (SECRET + "data:\n  a: hunter2!  # here", "data.a", "move it to stringData"),
    "a Secret of numbers": (SECRET + "stringData:\n  pin: 271828  # here", "stringData.pin", "must be text, not a number; quote it"),
    "a time": (SERVICE.replace("name: web", "name: web\n  creationTimestamp: monday  # here"), "metadata.creationTimestamp", "2026-01-31T12:00:00Z"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_problem_names_line_and_field_and_the_way_out(name: str) -> None:
    """Each refusal leads to the line to edit, and says what to write there."""
    text, field, message = REFUSED[name]

    reading = read(text + "\n")
    [problem] = [each for each in reading.problems if (field, True) == (each.field, message in each.text)]

    assert () == reading.objects
    assert message in problem.text
    assert field == problem.field
    assert next(n for n, line in enumerate(text.split("\n"), 1) if line.endswith("# here")) == problem.line
    assert problem.hint


def test_what_the_api_server_lets_pass_is_no_problem() -> None:
    """A range backwards, and whatever of a pool of Cilium is wrong but a network, is for the object's conditions."""
    cilium = POOL.replace("tidegate.dev/v1alpha1", "cilium.io/v2").replace("LoadBalancer", "CiliumLoadBalancer")
    for text in (
        POOL + "  - {start: 192.0.2.9, stop: 192.0.2.1}\n",
        cilium + "  - {start: nine}\n  - {stop: 192.0.2.1}\n  - {}\n",
    ):
        reading = read(text)
        assert ((), 1) == (reading.problems, len(reading.objects))


def test_all_problems_of_an_object_are_said_at_once() -> None:
    """A user need not edit, look, and edit again."""
    reading = read(ROUTE + "  - matchs: []\n    backendRefs: [{name: a, port: '80'}, {nam: b}]\n")

    assert [
        "spec.rules[0].matchs",
        "spec.rules[0].backendRefs[0].port",
        "spec.rules[0].backendRefs[1].nam",
        "spec.rules[0].backendRefs[1].name",
    ] == [problem.field for problem in reading.problems]
    assert (ObjectRef("HTTPRoute", "shop", "web"),) == reading.claims


def test_an_object_is_what_the_api_server_would_make_of_it() -> None:
    """Namespace, times and what kubectl leaves behind are settled; a field without a value is not there."""
    [(ref, service, _)] = read(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  generation: 7\n  uid: a-b\n  labels:\n"
        "  creationTimestamp: 2026-01-31T13:00:00+01:00\n"
        "  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', a: b}\n"
        "spec:\n  clusterIP: None\n  selector: {app: web}\n  ports:\nstatus: {loadBalancer: {}}\n"
    ).objects

    assert isinstance(service, Service)
    assert ObjectRef("Service", "default", "web") == ref
    assert ("default", 0, "2026-01-31T12:00:00Z") == (
        service.metadata.namespace,
        service.metadata.generation,
        service.metadata.creation_timestamp,
    )
    assert {"a": "b"} == service.metadata.annotations
    assert () == service.spec.ports


def test_a_list_gives_its_items() -> None:
    """Lists, lists of one kind and lists in lists are flattened, and problems know their place."""
    item = "{apiVersion: v1, kind: Service, metadata: {name: %s}, spec: {ports: [{port: %s}]}}"
    text = f"apiVersion: v1\nkind: List\nitems:\n- {item % ('a', 1)}\n- {item % ('b', 'x')}\n"
    text += "- kind: ServiceList\n  apiVersion: v1\n  items:\n  - metadata: {name: c}\n    spec: {ports: [{port: 3}]}\n"

    reading = read(text)

    assert ["a", "c"] == [found.ref.name for found in reading.objects]
    assert [(5, "Service", "b", "spec.ports[0].port")] == [
        (problem.line, problem.object.kind, problem.object.name, problem.field) for problem in reading.problems
    ]


def test_a_hostile_object_is_not_told_at_length() -> None:
    """S13: a thousand wrong fields are twenty problems and a count, and lists in lists end somewhere."""
    wrong = "\n".join(f"  port{n}: 1" for n in range(1000))
    nested = '{"apiVersion":"v1","kind":"List","items":[' * 200 + "]}" * 200

    problems = read(SERVICE + wrong).problems

    assert 21 == len(problems)
    assert "has 980 more problems" == problems[-1].message
    assert 1 == len(read(nested, json=True).problems)


def test_a_kind_of_another_type_is_said_once() -> None:
    """One mistake is one problem."""
    assert ["metadata.name"] == [problem.field for problem in read(SERVICE.replace("web", "n")).problems]


def test_json_is_a_manifest_too() -> None:
    """A JSON document says the same, and its problems have lines."""
    text = '{\n "apiVersion": "v1", "kind": "Service",\n "metadata": {"name": "web"},\n "spec": {"ports": [{"port": %s}]}\n}\n'

    good, bad = read(text % "80", json=True), read(text % '"80"', json=True)

    assert read(SERVICE).objects == good.objects
    assert [4] == [problem.line for problem in bad.problems]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("apps/v1", "Deployment"),
        ("v1", "ServiceAccount"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("gateway.networking.k8s.io/v1", "BackendTLSPolicy"),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
    ],
)
def test_a_kind_that_is_not_read_is_noted(version: str, kind: str) -> None:
    """What belongs to others in the same folder is one notice and no problem."""
    reading = read(f"# a comment\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{any: thing}}\n")

    assert () == reading.problems
    assert [(2, kind, "is not read here, and changes nothing")] == [
        (notice.line, notice.object.kind, notice.message) for notice in reading.notices
    ]


def test_string_data_wins_over_data_and_is_encoded() -> None:
    """A Secret has what the API server would keep."""
    [found] = read(SECRET + "data: {a: YQ==, b: Yg==}\nstringData: {b: other, c: ü}\n").objects

    assert isinstance(found.object, Secret)
    assert {"a": "a", "b": "other", "c": "ü"} == {k: b64decode(v).decode() for k, v in found.object.data.items()}
    assert {} == found.object.string_data


@pytest.mark.parametrize(
    "tail",
    [
        "data: {password: CANARY!}",
        "data: {password: [CANARY]}",
        "data: CANARY",
        "stringData: {password: 1, CANARY/x: a}",
        "type: [CANARY]",
        "stringData: {password: CANARY}\ndata: {a: 1}",
        "stringData:\n  password: CANARY\n x: y",
        "stringData: {password: 'CANARY",
        "stringData: {password: *CANARY}",
        "immutable: CANARY",
    ],
)
def test_a_secret_never_reaches_a_message(tail: str) -> None:
    """S17: problems of a Secret name its keys and not what they hold."""
    reading = read(SECRET + tail + "\n")

    assert reading.problems
    for problem in reading.problems:
        assert "CANARY" not in problem.message + problem.hint or "CANARY/x" in tail
        assert "CANARY" not in str(problem.as_json()) or "CANARY/x" in tail


def test_of_a_secret_only_keys_are_seen() -> None:
    """S17: nor does its repr show values."""
    assert "CANARY" not in repr(read(SECRET + "stringData: {password: CANARY}\n"))


def test_an_unreadable_document_means_nothing_yet() -> None:
    """Nobody knows which objects half a document is about."""
    reading = read("apiVersion: v1\nkind: [\n")

    assert not reading.readable
    assert [(NOWHERE, 2)] == [(problem.object, problem.line) for problem in reading.problems]


def test_nothing_is_nothing() -> None:
    """An empty document has no object and no problem."""
    assert Reading() == read("# nothing\n")


@pytest.mark.parametrize("version", ["v1", "v1alpha3", "v1alpha2"])
def test_older_versions_of_a_kind_are_the_same_object(version: str) -> None:
    """What a kind was called before it was stable is served as before."""
    text = (
        ROUTE.replace("HTTPRoute", "TLSRoute")
        .replace("/v1\n", f"/{version}\n")
        .replace("spec:", "spec:\n  hostnames: [a.example]")
    )

    [found] = read(text + "  - backendRefs: [{name: a, port: 1}]\n").objects

    assert ObjectRef("TLSRoute", "shop", "web") == found.ref


def test_everything_valid_is_taken() -> None:
    """A route and a slice that use much of what there is have no problem."""
    route = read(
        ROUTE
        + "  - name: all\n    matches:\n    - {path: {type: RegularExpression, value: '/a.*'}, method: GET,\n"
        + "       headers: [{name: x-a, value: b}, {type: RegularExpression, name: x-c, value: 'd+'}], queryParams: [{name: q, value: '1'}]}\n"
        + "    filters:\n    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}], remove: [c]}}\n"
        + "    - {type: RequestMirror, requestMirror: {backendRef: {name: m, port: 80}, fraction: {numerator: 1, denominator: 10}}}\n"
        + "    - {type: CORS, cors: {allowOrigins: ['https://a.example', 'https://*.b.example'], allowCredentials: true, maxAge: 60}}\n"
        + "    backendRefs:\n    - {name: a, port: 80, weight: 9}\n    - {group: '', kind: Service, name: b, namespace: other, port: 81}\n"
        + "    timeouts: {request: 10s, backendRequest: 2s}\n    retry: {codes: [503], attempts: 2, backoff: 100ms}\n"
    )
    endpoints = read(
        SLICE + "addressType: IPv6\nports: [{name: http, port: 80, appProtocol: kubernetes.io/h2c}]\n"
        "endpoints:\n- {addresses: ['::1'], conditions: {ready: true}, zone: a, nodeName: one, hints: {forZones: [{name: a}]}}\n"
    )

    assert ((), ()) == (route.problems, endpoints.problems)
    assert isinstance(route.objects[0].object, HTTPRoute)
    assert isinstance(endpoints.objects[0].object, EndpointSlice)


@pytest.mark.parametrize("endpoints", ["", "endpoints:\n", "endpoints: []\n"])
def test_an_endpoint_slice_may_wait_for_its_endpoints(endpoints: str) -> None:
    """The API server takes an EndpointSlice without endpoints, so that whoever fills it can come later."""
    reading = read(SLICE + "addressType: IPv4\nports: [{name: http, port: 80}]\n" + endpoints)

    assert () == reading.problems
    found = reading.objects[0].object
    assert isinstance(found, EndpointSlice)
    assert () == found.endpoints
