"""Leader election: asks the API server what the `Election` wants to know, for as long as it runs."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from xds_server.kube.client import Api, ApiError
from xds_server.kube.election import TIMEOUT_S, Answer, Attempt, Election, Lease, LeaseSpec, Question, Read, Write

log = structlog.get_logger(__name__)

NAME: Final = "tidegate-controller"
ADDRESS: Final = "tidegate.dev/address"
"""The annotation with the address at which other replicas reach the holder."""
_PATH: Final = "/apis/coordination.k8s.io/v1/namespaces"


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    annotations: Mapping[str, str] | None = None


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: LeaseSpec = LeaseSpec()


def identity(pod_name: str) -> str:
    """The pod's name, of which there is one; outside of a pod the machine's, made unique."""
    return pod_name or f"{socket.gethostname()}_{random.getrandbits(32):08x}"


def microtime() -> str:
    """As a Lease has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Elector:
    """One candidate for one Lease.

    `on_gained` is called when it begins to lead. `on_leader` is told the address that another holder has written into
    the Lease, which may be anything, and "" where this one leads or nobody does, whenever that changes.
    `address` is what this one writes.
    """

    def __init__(
        self,
        api: Api,
        namespace: str,
        identity: str,
        *,
        name: str = NAME,
        on_gained: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._name, self.on_gained = api, namespace, name, on_gained
        self._election = Election(identity, clock, microtime)
        self._said = ""
        self.address: Callable[[], str] = lambda: ""
        self.on_leader: Callable[[str], None] = lambda _: None
        self._leader, self._told = "", ""

    @property
    def leads(self) -> bool:
        return self._election.leads

    @property
    def remaining_s(self) -> float:
        return self._election.remaining_s

    @property
    def term(self) -> int:
        return self._election.term

    async def run(self) -> None:
        """Lead whenever possible, until cancelled; whoever cancels calls `release` once nothing writes any more."""
        led = False
        while True:
            term = self.term
            wait_s = await self._asked(self._election.attempt())
            if led and (not self.leads or self.term != term):
                log.warning("leadership lost", lease=self._name, identity=self._election.identity)
            if self.term != term:
                log.info("leadership gained", lease=self._name, identity=self._election.identity)
                self.on_gained()
            led = self.leads
            self._tell("" if led else self._leader)
            await asyncio.sleep(wait_s)

    async def release(self) -> None:
        """Let another replica lead at once, rather than when the Lease has run out."""
        await self._asked(self._election.release())

    async def _asked(self, attempt: Attempt) -> float:
        try:
            question = next(attempt)
            while True:
                question = attempt.send(await self._answer(question))
        except StopIteration as stop:
            return float(stop.value)

    async def _answer(self, question: Question) -> Answer:
        collection = f"{_PATH}/{self._namespace}/leases"
        path = f"{collection}/{self._name}"
        try:
            match question:
                case Read():
                    body = await self._api.request("GET", path, timeout_s=TIMEOUT_S)
                case Write("", spec):
                    body = await self._api.request("POST", collection, body=self._body("", spec), timeout_s=TIMEOUT_S)
                case Write(version, spec):
                    body = await self._api.request("PUT", path, body=self._body(version, spec), timeout_s=TIMEOUT_S)
            found = msgspec.json.decode(body, type=_Lease)
        except ApiError as error:
            if error.status == 409:
                return "conflict"
            if error.status == 404 and isinstance(question, Read):
                return "absent"
            return self._failed(f"{error.status} {error.reason}", error)
        except msgspec.DecodeError as error:
            return self._failed("not understood", error)
        self._said = ""
        ours = found.spec.holder_identity in {None, "", self._election.identity}
        self._leader = "" if ours else (found.metadata.annotations or {}).get(ADDRESS, "")
        return Lease(found.metadata.resource_version, found.spec)

    def _tell(self, leader: str) -> None:
        if leader != self._told:
            self._told = leader
            self.on_leader(leader)

    def _failed(self, reason: str, error: Exception) -> Answer:
        """It is asked again and again: what is wrong is said once."""
        if self._said != reason:
            self._said = reason
            log.warning("lease not answered", lease=self._name, namespace=self._namespace, error=str(error)[:512])
        return "failed"

    def _body(self, version: str, spec: LeaseSpec) -> bytes:
        metadata: dict[str, object] = {"name": self._name, "namespace": self._namespace}
        address = self.address() if spec.holder_identity else ""
        if address:
            metadata["annotations"] = {ADDRESS: address}
        if version:
            metadata["resourceVersion"] = version
        kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return msgspec.json.encode({**kind, "metadata": metadata, "spec": spec})
