"""The two ends of a request that is to be explained: the addresses that a URL leads to, and whom it comes from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from ipaddress import ip_address

from xds_server.explain.request import destination
from xds_server.ingestion.service_addresses import cluster_addresses
from xds_server.model.refs import ObjectRef
from xds_server.pipeline import Pipeline


def addressed(pipeline: Pipeline, url: str, address: str, *, datapath: bool) -> list[str]:
    """The address that is named, or is the URL's host, or those of the Service whose name that is; else "", any.

    Services are called where nodes have the daemon; their names are those of the cluster's DNS with a namespace:
    NAME.NAMESPACE[.svc[.DOMAIN]].

    :raises ValueError: the address is none; the Service has none, or not the port; or there is none of that name in a
        namespace that has some.
    """
    if address:
        return [_address(address, f"--address {address!r}: give an IP address")]
    _, host, port = destination(url)
    try:
        return [str(ip_address(host))]
    except ValueError:
        pass
    if not host.strip("0123456789."):
        raise ValueError(f"URL: {host} is no IP address: an IPv4 address is four numbers from 0 to 255")
    ref = _service(host)
    if ref is None or not datapath:
        return [""]
    service = pipeline.sources.services.get(ref)
    if service is None:
        siblings = sorted(each.name for each in pipeline.sources.services if each.namespace == ref.namespace)
        if siblings or host.split(".")[2:3] == ["svc"]:
            hint = meant(ref.name, siblings, most=8)
            raise ValueError(f"URL: there is no Service {ref.name} in namespace {ref.namespace}; {hint}")
        return [""]
    if found := cluster_addresses(service):
        ports = [str(each.port) for each in service.spec.ports if each.protocol == "TCP"]
        if str(port) not in ports:
            raise ValueError(f"URL: {ref} has no TCP port {port}; there are: {', '.join(ports) or 'none'}")
        return list(found)
    raise ValueError(f"{ref} has no address in spec.clusterIPs: nothing of Tidegate is between it and its clients")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _service(host: str) -> ObjectRef | None:
    name, *rest = host.split(".")
    if not rest or rest[1:2] not in ([], ["svc"]):
        return None
    return ObjectRef("Service", rest[0], name)


def clients_of(pipeline: Pipeline, text: str, *, datapath: bool) -> tuple[str, ...]:
    """The addresses of who asks: one, or a pod's; none for nobody in particular.

    :raises ValueError: there is no such pod, or it has no address of its own.
    """
    if not text:
        return ()
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name or _is_address(namespace):
        return (_address(text, f"--client {text!r}: give an IP address, or NAMESPACE/POD"),)
    if not datapath:
        raise ValueError(f"--client {text}: pods are known where nodes have the daemon only: give --datapath")
    ref = ObjectRef("Pod", namespace, name)
    if (known := pipeline.ingested.workloads.get(ref)) is not None:
        return known.addresses
    pod = pipeline.sources.pods.get(ref)
    if pod is None:
        raise ValueError(f"--client {text}: there is no such pod")
    if pod.spec.host_network:
        raise ValueError(f"--client {text}: it has the network of its node: give an IP address, the node's")
    raise ValueError(f"--client {text}: it has no address in status.podIPs, is on no node yet, or has ended")


def meant(name: str, there: Sequence[str], *, most: int | None = None) -> str:
    """A hint for who names what is not there: the one that is like it, or the first of all."""
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(there[:most]) or 'none'}"


def _address(text: str, otherwise: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(otherwise) from None


def between(places: Sequence[str], clients: Sequence[str]) -> list[tuple[str, str]]:
    """Each place with the client that can be there: one of the same family, if clients are named at all.

    :raises ValueError: nobody can.
    """
    if not clients:
        return [(place, "") for place in places]
    found = [(place, client) for place in places if (client := _of_family(place, clients))]
    if not found:
        raise ValueError(f"--client: nobody connects from {', '.join(clients)} to {', '.join(places)}: name one alike")
    return found


def _of_family(place: str, clients: Sequence[str]) -> str:
    version = ip_address(place).version if place else 0
    return next((each for each in clients if version in {0, ip_address(each).version}), "")
