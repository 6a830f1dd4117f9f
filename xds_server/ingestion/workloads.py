"""Pods: which have addresses of their own, on which node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xds_server.graph import Collection, Fetch, Graph
from xds_server.ingestion.endpoints import canonical_address
from xds_server.ingestion.sources import Sources
from xds_server.model.interception import Workload
from xds_server.model.refs import ObjectRef
from xds_server.objects.core import Pod

_OVER: Final = frozenset({"Succeeded", "Failed"})
"""Phases after which a pod's addresses are given to others, while its object stays."""


def declare_workloads(graph: Graph, sources: Sources) -> Collection[ObjectRef, Workload]:
    def workload(_: Fetch, ref: ObjectRef, pod: Pod) -> Iterator[tuple[ObjectRef, Workload]]:
        addresses = tuple(sorted(filter(None, (canonical_address(each.ip) for each in pod.status.pod_ips))))
        # A pod of the node's network has the node's addresses: nobody is known by them.
        if pod.spec.node_name and addresses and not pod.spec.host_network and pod.status.phase not in _OVER:
            yield ref, Workload(ref, pod.metadata.uid, pod.spec.node_name, addresses)

    return graph.derive("workloads", sources.pods, workload)
