"""The chart renders what an installation asks for, and refuses what it cannot mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from datapath.config import Config, parse
from datapath.kernel.sysctls import BESIDE
from tests.helm import CHART, NAMESPACE, Object, named, objects, pod_specs, refusal, rendered

EVERYTHING: dict[str, Any] = {
    "images": {"registry": "registry.example/", "pullSecrets": ["pull"], "proxy": {"digest": "sha256:" + "a" * 64}},
    "controller": {"affinity": {"nodeAffinity": {}}, "nodeSelector": {"a": "b"}, "extraArgs": ["--log-level=debug"]},
    "proxy": {"podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "priorityClassName": ""},
    "secrets": {"namespaces": ["shop", "bank"]},
    "exposure": {"namespaces": ["shop"], "hostPorts": ["80", "8000-8999"]},
    "gatewayClass": {"parametersRef": {"namespace": NAMESPACE, "name": "cloud"}},
    "ingressClass": {"default": True},
    "cilium": {"gatewayClass": True, "ingressClass": True, "addressPools": True},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True},
    },
}
DAEMONS: dict[str, Any] = {
    "enabled": True,
    "devices": ["eth0"],
    "envoy": {"concurrency": 2},
    "hostPaths": {"state": "/var/lib/mesh", "cgroup": "/sys/fs/cgroup/unified"},
    "extraCapabilities": ["SYS_RESOURCE"],
    "seLinuxOptions": {"type": "spc_t"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
}
# What the daemon has beyond a proxy, and why: docs/kernels.md. It keeps the first four.
CAPABILITIES = ["BPF", "NET_ADMIN", "NET_RAW", "PERFMON", "SYS_ADMIN", "SYS_PTRACE"]
WORLDS: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "daemons": {"datapath": {"enabled": True}},
    "daemons with everything": {**EVERYTHING, "datapath": DAEMONS, "certificates": {"certManager": {"enabled": True}}},
    "daemons leave": {"datapath": {"enabled": True, "remove": True}},
    "cert-manager": {"certificates": {"certManager": {"enabled": True}}},
    "cert-manager with an issuer": {
        "certificates": {"certManager": {"enabled": True, "issuerRef": {"name": "corporate", "kind": "ClusterIssuer"}}}
    },
    "as little as possible": {
        "controller": {"replicas": 1, "podDisruptionBudget": {"enabled": False}},
        "networkPolicy": {"enabled": False},
        "gatewayClass": {"create": False},
        "ingressClass": {"create": False},
        "secrets": {"namespaces": ["shop"]},
    },
}


@cache
def world(name: str) -> list[Object]:
    return objects(rendered(WORLDS[name]))


def kinds(found: list[Object]) -> set[tuple[str, str]]:
    return {(o["kind"], o["metadata"]["name"]) for o in found}


def containers(found: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Each container with its workload's name and its pod's specification."""
    for name, pod in pod_specs(found):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}/{container['name']}", pod, container


@pytest.mark.parametrize("name", WORLDS)
def test_every_object_is_named_once_labelled_and_in_its_place(name: str) -> None:
    """Objects are unique, labelled, and in the namespace of the installation or one of `secrets.namespaces`."""
    found = world(name)
    identities = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in found]
    allowed = {None, NAMESPACE, *WORLDS[name].get("secrets", {}).get("namespaces", ())}

    assert sorted(set(identities), key=str) == sorted(identities, key=str)
    assert {"tidegate"} == {o["metadata"]["labels"]["app.kubernetes.io/name"] for o in found}
    assert set() == {o["metadata"].get("namespace") for o in found} - allowed


@pytest.mark.parametrize("name", WORLDS)
def test_containers_are_confined(name: str) -> None:
    """No container is privileged, may become so, or writes its root; the proxy alone may bind low ports."""
    for where, pod, container in containers(world(name)):
        context = container["securityContext"]
        added = context["capabilities"].get("add", [])

        assert (False, False, True) == (
            context["privileged"], context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"],
        )  # fmt: skip
        assert (["ALL"], "RuntimeDefault") == (
            context["capabilities"]["drop"], pod["securityContext"]["seccompProfile"]["type"],
        )  # fmt: skip
        assert {"requests", "limits"} == set(container["resources"])
        if where.startswith("DaemonSet/tidegate-node/"):
            continue
        assert (["NET_BIND_SERVICE"] if where.endswith("/proxy") else []) == added
        assert where.endswith("/proxy") or pod["securityContext"]["runAsNonRoot"]
        assert not {"hostPID", "hostIPC"} & set(pod)
        assert [] == [volume for volume in pod.get("volumes", ()) if "hostPath" in volume]


@pytest.mark.parametrize("name", [name for name in WORLDS if name.startswith("daemons")])
def test_rights_in_the_kernel_and_the_nodes_token_are_in_two_containers(name: str) -> None:
    """What holds the token has no capability, and what has capabilities holds no token."""
    extra = WORLDS[name]["datapath"].get("extraCapabilities", [])
    for _, pod, container in containers([named(world(name), "DaemonSet", "tidegate-node")]):
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        added = container["securityContext"]["capabilities"].get("add", [])

        assert added in ([], CAPABILITIES + extra)
        assert not (added and "identity" in mounted)
        assert bool(added) == ({"bpffs", "cgroup", "sysctls"} <= mounted)
        assert (True, True, False) == (pod["hostNetwork"], pod["hostPID"], pod["automountServiceAccountToken"])


def config(name: str) -> Config:
    """The daemon's configuration of a world, read as the daemon reads it."""
    text = named(world(name), "ConfigMap", "tidegate-node")["data"]["node.yaml"]
    return parse(text, "node.yaml", {"NODE_NAME": "node-a", "NODE_IP": "192.0.2.7"})


def test_the_daemon_understands_what_it_is_told() -> None:
    """Its file is one that it takes; on a node it is about that node, and all its paths are mounted."""
    quiet, told = config("daemons"), config("daemons with everything")
    pod = named(world("daemons with everything"), "DaemonSet", "tidegate-node")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert told.tls is not None

    assert ("node-a", "127.0.0.1:15091", "127.0.0.1:15090") == (quiet.node, quiet.metrics, quiet.envoy.metrics)
    assert ("192.0.2.7:15091", "192.0.2.7:15090") == (told.metrics, told.envoy.metrics)
    assert (None, 2, ("eth0",)) == (quiet.envoy.concurrency, told.envoy.concurrency, told.devices)
    assert {str(told.bpffs), str(told.cgroup), str(told.state.parent), str(BESIDE)} <= mounts
    assert told.state.parent == told.tls.certificate.parents[1] == told.tls.authority.parents[1]


def test_what_envoy_needs_outlives_the_pod() -> None:
    """State and certificate are in a folder of the node, at the same path in each container."""
    pod = named(world("daemons with everything"), "DaemonSet", "tidegate-node")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    places = {
        (mount["mountPath"], mount.get("readOnly", False))
        for container in [*pod["initContainers"], *pod["containers"]]
        for mount in container["volumeMounts"]
        if mount["name"] == "state"
    }

    assert {("/var/lib/mesh", False)} == places
    assert {"path": "/var/lib/mesh", "type": "DirectoryOrCreate"} == volumes["state"]["hostPath"]
    assert "/sys/fs/cgroup/unified" == volumes["cgroup"]["hostPath"]["path"]


def test_a_changed_configuration_is_another_pod() -> None:
    """The daemon reads it when it starts, so that it has to be started."""

    def annotation(values: dict[str, Any]) -> str:
        found = named(objects(rendered(values)), "DaemonSet", "tidegate-node")
        return str(found["spec"]["template"]["metadata"]["annotations"]["tidegate.dev/configuration"])

    same = {"datapath": {"enabled": True, "podLabels": {"a": "b"}}}
    assert annotation(WORLDS["daemons"]) == annotation(same)
    assert annotation(WORLDS["daemons"]) != annotation({"datapath": {"enabled": True, "logLevel": "debug"}})


def test_daemons_take_the_place_of_proxies() -> None:
    """One Envoy on a node: what finds proxies finds daemons, and the control plane signs for their account."""
    found = world("daemons with everything")
    [container] = named(found, "Deployment", "tidegate-controller")["spec"]["template"]["spec"]["containers"]
    monitor = named(found, "PodMonitor", "tidegate-node")["spec"]

    assert not {("DaemonSet", "tidegate-proxy"), ("ServiceAccount", "tidegate-proxy")} & kinds(found)
    assert not {("DaemonSet", "tidegate-node"), ("ConfigMap", "tidegate-node")} & kinds(world("everything"))
    assert "node" == named(found, "Service", "tidegate-proxy")["spec"]["selector"]["app.kubernetes.io/component"]
    assert {"--datapath", "--identity-service-account=tidegate-node"} <= set(container["args"])
    assert [("metrics", "/stats/prometheus"), ("daemon", "/metrics")] == [
        (endpoint["port"], endpoint["path"]) for endpoint in monitor["podMetricsEndpoints"]
    ]


def test_before_it_goes_the_daemon_cleans_up() -> None:
    """With `remove` each pod takes away what is on its node, once, and then waits without a right."""
    pod = named(world("daemons leave"), "DaemonSet", "tidegate-node")["spec"]["template"]["spec"]
    [first], [rest] = pod["initContainers"], pod["containers"]

    assert ["node", "cleanup", "--force", "--config=/config/node.yaml"] == first["args"]
    assert CAPABILITIES == first["securityContext"]["capabilities"]["add"]
    assert (["sleep", "infinity"], {"drop": ["ALL"]}) == (rest["command"], rest["securityContext"]["capabilities"])


@pytest.mark.parametrize("name", WORLDS)
def test_no_secret_is_in_the_environment(name: str) -> None:
    """S9: environments come from fields of the pod alone, and secrets from read-only volumes."""
    for _, pod, container in containers(world(name)):
        environment = container.get("env", [])
        secret = {v["name"] for v in pod.get("volumes", ()) if {"secret", "projected"} & set(v)}

        assert "envFrom" not in container
        assert [] == [variable for variable in environment if set(variable.get("valueFrom", {})) != {"fieldRef"}]
        assert all(mount["readOnly"] for mount in container.get("volumeMounts", ()) if mount["name"] in secret)


@pytest.mark.parametrize("name", WORLDS)
def test_selectors_find_pods(name: str) -> None:
    """Every Service, PodDisruptionBudget and NetworkPolicy selects the pods of exactly one workload."""
    found = world(name)
    pods = [o["spec"]["template"]["metadata"]["labels"] for o in found if o["kind"] in {"Deployment", "DaemonSet"}]
    for o in found:
        if o["kind"] not in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            continue
        spec = o["spec"]
        selector = spec["selector"] if o["kind"] == "Service" else spec.get("selector") or spec["podSelector"]
        selector = selector.get("matchLabels", selector)

        assert 1 == sum(selector.items() <= labels.items() for labels in pods)


def test_an_update_never_takes_a_replica_before_another_is_ready() -> None:
    """One more starts first; a stopping one leaves the Service before its streams end, and has the time to."""
    spec = named(world("default"), "Deployment", "tidegate-controller")["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert {"maxUnavailable": 0, "maxSurge": 1} == spec["strategy"]["rollingUpdate"]
    assert 0 < pause < pod["terminationGracePeriodSeconds"]
    assert {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} == {
        spread["topologyKey"] for spread in pod["topologySpreadConstraints"]
    }


def test_probes_ask_what_the_flags_serve() -> None:
    """Kubelet asks the port of --metrics on the address that it has, and a proxy on loopback unless it is scraped."""
    [container] = named(world("default"), "Deployment", "tidegate-controller")["spec"]["template"]["spec"]["containers"]
    [quiet] = named(world("default"), "DaemonSet", "tidegate-proxy")["spec"]["template"]["spec"]["containers"]
    [scraped] = named(world("everything"), "DaemonSet", "tidegate-proxy")["spec"]["template"]["spec"]["containers"]

    assert {"--metrics=$(POD_IP):15081", "--admin=127.0.0.1:15080"} <= set(container["args"])
    assert {("metrics", 15081)} < {(port["name"], port["containerPort"]) for port in container["ports"]}
    assert "--metrics=127.0.0.1:15090" in quiet["args"]
    assert "127.0.0.1" == quiet["readinessProbe"]["httpGet"]["host"]
    assert "--metrics=$(NODE_IP):15090" in scraped["args"]
    assert "host" not in scraped["readinessProbe"]["httpGet"]


def test_images_are_named_by_registry_tag_or_digest() -> None:
    """A digest takes the tag's place, and a registry comes first."""
    found = {container["name"]: container["image"] for _, _, container in containers(world("everything"))}

    assert f"registry.example/tidegate-proxy@sha256:{'a' * 64}" == found["proxy"]
    assert "registry.example/tidegate-controller:0.1.0" == found["controller"]


def test_cert_manager_takes_the_place_of_the_job() -> None:
    """With cert-manager there is no Job and no right to write Secrets; the same Secrets come from Certificates."""
    own, theirs = kinds(world("default")), kinds(world("cert-manager"))
    certificates = [o["spec"] for o in world("cert-manager") if o["kind"] == "Certificate"]

    assert ("CronJob", "tidegate-certificates") in own
    assert set() == {kind for kind, _ in theirs} & {"Job", "CronJob"}
    assert ("Role", "tidegate-certificates") not in theirs
    assert {"tidegate-ca", "tidegate-xds-server", "tidegate-trust", "tidegate-operator-admin"} == {
        spec["secretName"] for spec in certificates
    }
    assert ("Issuer", "tidegate-self-signed") not in kinds(world("cert-manager with an issuer"))


def test_replicas_may_dial_each_other() -> None:
    """The NetworkPolicy lets them out to the xDS port of their own kind, and the certificate says who they are."""
    found = world("cert-manager")
    policy = named(found, "NetworkPolicy", "tidegate-controller")["spec"]
    [server] = [o["spec"] for o in found if o["kind"] == "Certificate" and "dnsNames" in o["spec"]]

    assert {"to": [{"podSelector": policy["podSelector"]}], "ports": [{"port": 15010}]} == policy["egress"][1]
    assert ["spiffe://tidegate.local/controller/tidegate-xds"] == server["uris"]
    assert {"server auth", "client auth"} <= set(server["usages"])


def test_the_job_is_named_after_what_it_runs() -> None:
    """A changed Job is another Job, as Kubernetes lets none be changed; an unchanged one stays."""

    def job(values: dict[str, Any]) -> str:
        [name] = [o["metadata"]["name"] for o in objects(rendered(values)) if o["kind"] == "Job"]
        return str(name)

    assert job({}) == job({"controller": {"replicas": 3}})
    assert job({}) != job({"trustDomain": "example.org"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"controller": {"replica": 3}}, "at '/controller': additional properties 'replica' not allowed"),
        ({"controller": {"replicas": "2"}}, "at '/controller/replicas': got string, want integer"),
        ({"controller": {"replicas": 0}}, "at '/controller/replicas': minimum: got 0, want 1"),
        ({"controller": {"logLevel": "loud"}}, "at '/controller/logLevel': value must be one of"),
        ({"trustDomain": "Example"}, "at '/trustDomain': 'Example' does not match pattern"),
        ({"secrets": {"namespaces": ["a/b"]}}, "at '/secrets/namespaces/0': 'a/b' does not match pattern"),
        ({"secrets": {"namespaces": ["a", "a"]}}, "at '/secrets/namespaces': items at 0 and 1 are equal"),
        ({"images": {"proxy": {"digest": "latest"}}}, "at '/images/proxy/digest': 'latest' does not match pattern"),
        ({"networkPolicy": {"apiServerPorts": [0]}}, "at '/networkPolicy/apiServerPorts/0': minimum: got 0, want 1"),
        ({"proxy": {"tolerations": [{"op": "Exists"}]}}, "additional properties 'op' not allowed"),
        ({"gatewayClass": {"parametersRef": {"name": "a"}}}, "gatewayClass.parametersRef.namespace: name the"),
        ({"images": {"registry": "https://a.example"}}, "images.registry: https://a.example has a scheme"),
        ({"proxy": {"drainSeconds": 60}}, "give more than proxy.drainSeconds"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    """The message has the value's path and what it may be."""
    assert said in refusal(values)


def test_every_value_has_a_default_a_type_and_a_description() -> None:
    """values.yaml and values.schema.json have the same leaves, and unknown keys are let into Kubernetes' own alone."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    described = dict(leaves(schema))
    given = set(paths(yaml.safe_load((CHART / "values.yaml").read_text()), set(described)))

    assert described.keys() - {"global"} == given | {path for path in described if optional(path)}
    assert {} == {path: leaf for path, leaf in described.items() if not leaf.get("description")}
    assert {} == {path: leaf for path, leaf in described.items() if not {"type", "$ref"} & leaf.keys()}


def optional(path: str) -> bool:
    """Keys of references, which are absent where there is none."""
    return ".parametersRef." in path or ".issuerRef." in path


def leaves(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    for name, child in schema["properties"].items():
        below = f"{path}.{name}".lstrip(".")
        if "properties" in child:
            assert child["additionalProperties"] is False
            assert child["description"]
            yield from leaves(child, below)
        else:
            yield below, child


def paths(values: Object, known: set[str], path: str = "") -> Iterator[str]:
    for name, child in values.items():
        below = f"{path}.{name}".lstrip(".")
        if isinstance(child, dict) and below not in known:
            yield from paths(child, known, below)
        else:
            yield below
