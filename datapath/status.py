"""What `tidegate node status` says: facts for machines, and the same for people with what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from datapath.ageing import STATES
from datapath.client import Client
from datapath.envoy import State
from datapath.kernel.layout import CAPTURE_PORT
from datapath.kernel.sysctls import Sysctls, set_right
from datapath.node import Node
from datapath.ports import worded
from datapath.resources import ANNOUNCEMENTS, SERVICE, WORKLOADS

Report = dict[str, Any]

UNHEALTHY_S: Final = 60.0
"""For how long programs may be away; they are attached again each second."""
_UNPUBLISHED: Final = "programs do not find the sockets of Envoy: it began to listen before these maps were there"


def report(node: Node, client: Client, now: float, capacities: dict[str, int]) -> Report:
    """`now` is of the event loop."""
    return {
        "node": node.config.node,
        "stream": _stream(node, client, now),
        "envoy": _envoy(node),
        "maps": _maps(node, capacities),
        "connections": _connections(node, capacities),
        "attached": _attached(node),
        "listeners": {
            "active": sorted(node.view.active),
            "awaited": sorted(node.view.services.awaited),
        },
        "unserved": sorted(map(str, node.reach.judgement.unserved)),
        "addresses": [str(address) for address in node.view.topology.addresses],
        "pods": {str(pod): _link(node, ifindex) for pod, ifindex in node.view.topology.pods.items()},
        "findings": findings(node, client),
    }


def _stream(node: Node, client: Client, now: float) -> Report:
    stream = client.stream

    def ago(at: float | None) -> float | None:
        return None if at is None else round(now - at, 1)

    held = {short(type_url): 0 for type_url in (SERVICE, WORKLOADS, ANNOUNCEMENTS)}
    for type_url, _ in node.discovery.held:
        held[short(type_url)] += 1
    return {
        "server": node.config.server,
        "connected": client.connected,
        "fault": stream.fault,
        "last_ack_s": ago(stream.accepted_at),
        "last_nack_s": ago(stream.refused_at),
        "held": held,
        "heard": sorted(short(type_url) for type_url in node.discovery.heard),
        "refused": {f"{short(type_url)} {name}": why for (type_url, name), why in node.discovery.refused.items()},
    }


def _envoy(node: Node) -> Report:
    state = node.envoy.state
    return {
        "pid": state.current.pid if state.current else None,
        "number": state.current.number if state.current else None,
        "ready": node.reach.serves,
        "silent_s": round(node.reach.silent.lasts_s, 1),
        "successor": state.successor.pid if state.successor else None,
        "successor_lacks": sorted(state.lacks),
        "draining": [instance.pid for instance in state.draining],
        "starts": state.starts,
        "fault": state.fault,
    }


def _maps(node: Node, capacities: dict[str, int]) -> Report:
    return {
        name: {"desired": size.desired, "actual": size.actual, "capacity": capacities.get(name, 0)}
        for name, size in node.view.sizes.items()
    }


def _connections(node: Node, capacities: dict[str, int]) -> Report:
    """Of those whose packets are translated here, at the last look."""
    ageing = node.ageing
    return {
        "states": dict(ageing.states),
        "capacity": capacities.get("connections", 0),
        "translations": {"actual": ageing.translations, "capacity": capacities.get("translations", 0)},
        "aged": dict(ageing.aged),
    }


def _attached(node: Node) -> list[Report]:
    found = node.view
    rows = [
        {"program": place[0], "target": _target(node, place[1]), "adopted": adopted, "fault": ""}
        for place, adopted in found.attached.items()
    ]
    rows += [
        {"program": place[0], "target": _target(node, place[1]), "adopted": False, "fault": why}
        for place, why in found.missing.items()
    ]
    return sorted(rows, key=lambda row: (str(row["target"]), str(row["program"])))


def _target(node: Node, target: str) -> str:
    return _link(node, int(target)) if target.isdecimal() else target


def _link(node: Node, ifindex: int) -> str:
    return node.view.topology.links.get(ifindex, f"link {ifindex}")


def findings(node: Node, client: Client) -> list[Report]:
    """What is wrong, and what to do, the worst first."""
    found = [
        *_of_envoy(node, client),
        *_of_successor(node),
        *_of_announcing(node),
        *_of_kernel(node),
        *_of_moved(node, client),
        *_of_stream(node, client),
        *_of_resources(node),
    ]
    return [{"what": what, "do": advice} for what, advice in found]


def unready(node: Node) -> str:
    """Why connections of this node's services would not reach Envoy; "" where they do."""
    if not node.envoy.state.ready:
        return f"Envoy does not serve: {_lacking(node.envoy.state)}"
    if node.reach.unpublished.lasts_s:
        return _UNPUBLISHED
    if not node.reach.serves:
        return f"Envoy does not answer since {node.reach.silent.lasts_s:.0f} s"
    if node.view.uncaptured:
        return _uncaptured(node)
    if not node.view.runs:
        return "the kernel has not been brought up to date yet"
    if SERVICE not in node.view.heard:
        return "nobody has said which services there are: what the kernel has of them goes on"
    return ""


def _uncaptured(node: Node) -> str:
    places = {"ipv4": "127.0.0.1", "ipv6": "[::1]"}
    lacks = [name.rpartition("/")[2] for name in sorted(node.view.uncaptured)]
    at = ", ".join(f"{places[family]}:{CAPTURE_PORT}" for family in lacks)
    return f"Envoy does not listen at {at}: a process of the node has that port"


def unhealthy(node: Node) -> str:
    """Why a new daemon may do better; "" where this one does what it can."""
    lasts_s = node.reach.detached.lasts_s
    if lasts_s < UNHEALTHY_S:
        return ""
    lacks = ", ".join(sorted({name for name, _ in node.view.missing})) or node.view.faults.get("attachments", "")
    return f"programs are not attached for {lasts_s:.0f} s: {lacks}"


def _lacking(state: State) -> str:
    if state.current is None:
        return state.fault or "it is not started yet"
    before = f"; before: {state.fault}" if state.fault else ""
    return f"it has no configuration yet{before}"


def _of_envoy(node: Node, client: Client) -> Iterator[tuple[str, str]]:
    state = node.envoy.state
    if not state.ready:
        away = state.current is not None and not client.connected
        way = f"it has that from {node.config.server}: see that it runs" if away else "see envoy.log"
        yield f"Envoy does not serve: {_lacking(state)}", f"new connections meet the fail mode of their service; {way}"
    elif state.fault:
        yield state.fault, "it is tried again; the one that runs serves until then"
    elif node.reach.silent.lasts_s:
        yield "Envoy does not answer", "it is ended after envoy.silenceSeconds, and another one started"
    if state.unremembered:
        yield state.unremembered, "make room there, or see that it can be written; it is tried at the next change"
    if node.reach.unpublished.lasts_s:
        yield _UNPUBLISHED, "it is replaced by a new one, which is found; until then services meet their fail mode"
    if node.view.uncaptured:
        advice = f"see `ss -ltnp sport = :{CAPTURE_PORT}`, and move it; until then services meet their fail mode"
        yield _uncaptured(node), advice
    if others := ", ".join(map(str, node.envoy.others)):
        what = f"Envoys of another state directory are in this node's cgroup for Envoy: {others}"
        yield what, "they get a part of the connections, and are told nothing new: end those processes"


def _of_successor(node: Node) -> Iterator[tuple[str, str]]:
    state = node.envoy.state
    if state.waits:
        yield state.waits, "the one that serves goes on until then"
    if state.successor and state.lacks:
        yield f"a new Envoy waits for {', '.join(sorted(state.lacks))}", "the old one serves until then"
    elif waits_s := node.envoy.overdue_s:
        advice = f"see that {node.config.server} serves it, or correct `server` or `tls`; the old one serves until then"
        yield f"a new Envoy has waited for {waits_s:.0f} s for its configuration", advice


def _of_announcing(node: Node) -> Iterator[tuple[str, str]]:
    if node.reach.judgement.unserved:
        addresses = ", ".join(sorted(map(str, node.reach.judgement.unserved)))
        yield f"Envoy does not serve {addresses}", "where they are announced, another node that serves them takes over"
    for key in sorted(node.announcing.contested, key=str):
        what = f"{key.address} is not announced at {_link(node, key.ifindex)}: somebody else there has it"
        yield what, "take it from him, or out of the pool; it is looked for again within an hour"


def _of_kernel(node: Node) -> Iterator[tuple[str, str]]:
    view = node.view
    for (name, target), why in sorted(view.missing.items()):
        yield f"{name} is not attached to {_target(node, target)}: {why}", "it is tried again each second"
    for (name, target), others in sorted(view.behind.items()):
        where = f"{name} at {_target(node, target)} comes after filters of others: {others}"
        yield where, "what they end the walk for is not seen: give them higher numbers as their priorities"
    for what, why in sorted(view.faults.items()):
        yield f"{what}: {why}", "it is tried again"
    yield from _of_sysctls(node.sysctls)
    for name, why in sorted(view.failed.items()):
        yield (
            f"{name}: {why}",
            "a service stays as it was, or out; pods and addresses that do not fit are not looked at",
        )
    for port, name in sorted(view.overlaid.items()):
        what = f"port {port} of the node is {name}'s, and a process listens there, too"
        advice = f"see `ss -ltnp sport = :{port}`; move the process, or expose the other by another port"
        yield f"{what}: who comes from outside meets the first", advice
    yield from worded(view.topology.lost, view.topology.links)
    yield from view.topology.problems


def _of_moved(node: Node, client: Client) -> Iterator[tuple[str, str]]:
    """An address may have another pod already, which is not to have the rights of the one before."""
    for address, left_s in sorted(node.view.moved.items(), key=str):
        when = f"in {left_s:.0f} s" if client.connected else f"{left_s:.0f} s after there is a control plane"
        what = f"pod {address} is at another link than before, and nothing of it is steered"
        yield what, f"it is taken when its pod is named anew, or {when}"


def _of_sysctls(sysctls: Sysctls) -> Iterator[tuple[str, str]]:
    if lost := sysctls.lost:
        what = f"what the kernel's settings were before is not known, and a clean-up would leave them: {lost}"
        yield what, "set those right that docs/datapath-reference.md names; remove that file when it tells no more"
    if unknown := sysctls.unknown:
        what = f"what these settings were before is not known, and a clean-up would leave them: {', '.join(unknown)}"
        yield what, f"tell it by `{set_right(unknown)}`, where they were so: they are noted, and set again"


def _of_stream(node: Node, client: Client) -> Iterator[tuple[str, str]]:
    if not client.connected:
        why = client.stream.fault or "not answered yet"
        yield f"no control plane at {node.config.server}: {why}", "what was accepted goes on; see that it runs"
    for type_url in (SERVICE, WORKLOADS):
        if type_url not in node.discovery.heard:
            yield f"nobody has said anything about {short(type_url)}", "run `tidegate serve` with --datapath"
    if WORKLOADS in node.discovery.heard and not node.discovery.accepted().pods():
        what = f"the control plane has no pods for node {node.config.node}"
        yield what, "unless none runs here, the configuration's `node` is not its name in Kubernetes: correct it"


def _of_resources(node: Node) -> Iterator[tuple[str, str]]:
    for (type_url, name), why in sorted(node.discovery.refused.items()):
        yield f"{short(type_url)} {name[:256]} is refused: {why}", "the version before it goes on, if there was one"
    for name, problem in sorted(node.view.services.problems.items()):
        yield f"service {name}: {problem}", "the first by name has it"
    for name, why in sorted(node.view.services.refused.items()):
        yield f"service {name}: {why}", "it is not served there on this node: give it another address"
    for listener in sorted(node.view.services.awaited):
        yield f"Envoy has no listener {listener}", "until then its service is balanced in the kernel, or refused"


def short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def text(found: Report) -> Iterator[str]:
    """For people."""
    stream, envoy = found["stream"], found["envoy"]
    held = ", ".join(f"{number} {kind}" for kind, number in stream["held"].items())
    yield f"node {found['node']}"
    state = "connected" if stream["connected"] else f"not connected ({stream['fault'] or 'not answered yet'})"
    yield f"stream    {stream['server']}: {state}; holds {held}"
    yield f"          last ACK {_ago(stream['last_ack_s'])}, last NACK {_ago(stream['last_nack_s'])}"
    serving = f"pid {envoy['pid']} {_serving(envoy)}" if envoy["pid"] else "none"
    more = [f"pid {envoy['successor']} is to take over"] if envoy["successor"] else []
    more += [f"pid {pid} drains" for pid in envoy["draining"]]
    yield "envoy     " + "; ".join([serving, *more])
    for name, size in found["maps"].items():
        yield f"map       {name}: {size['actual']} of {size['desired']} desired, room for {size['capacity']}"
    yield "flows     " + _flows(found["connections"])
    for row in found["attached"]:
        what = row["fault"] or ("adopted" if row["adopted"] else "attached")
        yield f"program   {row['program']} at {row['target']}: {what}"
    for pod, link in found["pods"].items():
        yield f"pod       {pod} at {link}"
    if not found["findings"]:
        yield "nothing is wrong"
    for finding in found["findings"]:
        yield f"! {finding['what']}"
        yield f"  {finding['do']}"


def _serving(envoy: Report) -> str:
    if envoy["silent_s"]:
        return f"does not answer since {envoy['silent_s']:g} s"
    return "serves" if envoy["ready"] else "does not serve yet"


def _flows(found: Report) -> str:
    states = ", ".join(f"{found['states'].get(each, 0)} {each}" for each in STATES)
    translations = found["translations"]
    kept = f"{translations['actual']} translations, room for {found['capacity']} and {translations['capacity']}"
    return f"{states}; {kept}; {sum(found['aged'].values())} were silent for too long"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:g} s ago"
