"""What others do: the rules of kube-proxy for the same services, in its two modes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

BACKENDS: Final = tuple(f"10.9.0.{number}" for number in range(1, 11))
PORT: Final = 8080
SERVICE_PORT: Final = 80
CHAINS: Final = 1000
"""Of services in nftables: the kernel takes 16 s for 10,000 and minutes for more. A packet meets one in any case."""


def service(number: int) -> str:
    """The address of a service: below 10.96.0.0/12, as ClusterIPs are."""
    return f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def nftables(services: int) -> str:
    """One lookup in a map of verdicts, then the service's chain, then an endpoint's."""
    turns = ", ".join(f"{slot} : goto endpoint-{slot}" for slot in range(len(BACKENDS)))
    hooks = "\n".join(
        f"chain nat-{hook} {{ type nat hook {hook} priority -100; "
        "ip daddr . meta l4proto . th dport vmap @service-ips; }"
        for hook in ("prerouting", "output")
    )
    endpoints = "\n".join(
        f"chain endpoint-{slot} {{ meta l4proto {{tcp, udp}} dnat to {backend}:{PORT}; }}"
        for slot, backend in enumerate(BACKENDS)
    )
    chains = "\n".join(
        f"chain service-{number} {{ numgen random mod {len(BACKENDS)} vmap {{ {turns} }}; }}"
        for number in range(min(services, CHAINS))
    )
    elements = ", ".join(
        f"{service(number)} . {protocol} . {SERVICE_PORT} : goto service-{number % CHAINS}"
        for number in range(services)
        for protocol in ("tcp", "udp")
    )
    verdicts = (
        f"map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {elements} }}; }}"
    )
    return f"table ip kube-proxy {{\n{endpoints}\n{chains}\n{verdicts}\n{hooks}\n}}\n"


def iptables(services: int) -> str:
    """TCP only: a rule for each service, one after the other, then the service's chain of two endpoints, then one's."""
    return "\n".join(("*nat", *_chains(services), *_rules(services), "COMMIT", ""))


def _chains(services: int) -> Iterator[str]:
    yield ":KUBE-SERVICES -"
    yield from (f":KUBE-SEP-{slot} -" for slot in range(len(BACKENDS)))
    yield from (f":KUBE-SVC-{number} -" for number in range(services))


def _rules(services: int) -> Iterator[str]:
    yield "-A OUTPUT -j KUBE-SERVICES"
    for slot, backend in enumerate(BACKENDS):
        for protocol in ("tcp", "udp"):
            yield f"-A KUBE-SEP-{slot} -p {protocol} -j DNAT --to-destination {backend}:{PORT}"
    for number in range(services):
        yield f"-A KUBE-SERVICES -d {service(number)}/32 -p tcp --dport {SERVICE_PORT} -j KUBE-SVC-{number}"
        yield f"-A KUBE-SVC-{number} -m statistic --mode random --probability 0.5 -j KUBE-SEP-{number % len(BACKENDS)}"
        yield f"-A KUBE-SVC-{number} -j KUBE-SEP-{(number + 1) % len(BACKENDS)}"


def endpoint(number: int) -> str:
    """The address of one of many that nobody connects to."""
    return f"10.9.{1 + (number >> 8)}.{number & 255}"


def nftables_change(revision: int, endpoints: int) -> str:
    """A chain for each endpoint, and the first service's chain with all of them."""
    names = [f"endpoint-r{revision}-{number}" for number in range(endpoints)]
    turns = ", ".join(f"{slot} : goto {name}" for slot, name in enumerate(names))
    return "\n".join(
        (
            *(f"add chain ip kube-proxy {name}" for name in names),
            *(
                f"add rule ip kube-proxy {name} meta l4proto {{ tcp, udp }} dnat to {endpoint(number)}:{PORT}"
                for number, name in enumerate(names)
            ),
            "flush chain ip kube-proxy service-0",
            f"add rule ip kube-proxy service-0 numgen random mod {endpoints} vmap {{ {turns} }}",
            "",
        )
    )


def iptables_change(revision: int, endpoints: int) -> str:
    names = [f"KUBE-SEP-R{revision}-{number}" for number in range(endpoints)]
    left = range(endpoints, 0, -1)
    return "\n".join(
        (
            "*nat",
            ":KUBE-SVC-0 -",
            *(f":{name} -" for name in names),
            *(
                f"-A {name} -p tcp -j DNAT --to-destination {endpoint(number)}:{PORT}"
                for number, name in enumerate(names)
            ),
            *(
                f"-A KUBE-SVC-0 -m statistic --mode random --probability {1 / rest:.8f} -j {name}"
                for name, rest in zip(names, left, strict=True)
            ),
            "COMMIT",
            "",
        )
    )


class Peer(NamedTuple):
    load: Sequence[str]
    rules: Callable[[int], str]
    amend: Sequence[str]
    change: Callable[[int, int], str]


PEERS: Final[Mapping[str, Peer]] = {
    "nftables": Peer(("nft", "-f", "-"), nftables, ("nft", "-f", "-"), nftables_change),
    "iptables": Peer(("iptables-legacy-restore",), iptables, ("iptables-legacy-restore", "--noflush"), iptables_change),
}


def run(netns: Path, command: Sequence[str], rules: str) -> None:
    subprocess.run(
        ["ip", "netns", "exec", netns.name, *command], input=rules.encode(), check=True, stdout=subprocess.DEVNULL
    )
