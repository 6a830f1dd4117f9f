"""The example on a cluster: its manifests as they are, but for endpoints, which are pods of the example's backends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from xds_server.demo.backends import BACKENDS, Backend

Object = dict[str, Any]

# Whoever moves from Cilium's gateway keeps the class that the manifests name.
# The replica that leads writes what the Envoys say that are connected to it, and knows of no others.
REPLICAS = 2
VALUES = {"cilium": {"gatewayClass": True, "ingressClass": True}, "controller": {"replicas": REPLICAS}}
NGINX = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "nginx"},
    "spec": {"controller": "k8s.io/ingress-nginx"},
}


def deployments() -> Iterator[Object]:
    """One for each backend; its labels are those that the example's Services select."""
    for backend in BACKENDS:
        yield {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": backend.pod, "namespace": "default"},
            "spec": {"selector": {"matchLabels": _labels(backend)}, "template": _pod(backend)},
        }


def _labels(backend: Backend) -> dict[str, str]:
    return {"app": backend.service, "version": backend.version}


def _pod(backend: Backend) -> Object:
    container = {
        "name": "backend",
        "image": "bookinfo",
        "args": [backend.pod],
        "ports": [{"containerPort": backend.port}],
        "readinessProbe": {"tcpSocket": {"port": backend.port}, "periodSeconds": 1},
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532}
    return {"metadata": {"labels": _labels(backend)}, "spec": {"securityContext": security, "containers": [container]}}


def manifests(path: Path) -> Iterator[Object]:
    """The objects of one file, in the namespace default; the endpoints are the cluster's own."""
    for o in yaml.safe_load_all(path.read_text()):
        if o["kind"] != "EndpointSlice":
            yield {**o, "metadata": {"namespace": "default", **o["metadata"]}}
