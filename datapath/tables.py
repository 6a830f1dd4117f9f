"""The pinned maps of which the daemon is the only writer, and what the programs remember of connections."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from datapath.kernel.layout import (
    ANSWERS,
    BACKENDS,
    CONNECTIONS,
    LINK_ADDRESSES,
    NODE_ADDRESSES,
    OWN_MACS,
    SERVICES,
    SETTINGS,
    TRANSLATIONS,
    WORKLOADS,
    AddressKey,
    Answer,
    AnswerKey,
    Connection,
    Flow,
    MacKey,
    NodeAddress,
    Settings,
    Translation,
    Workload,
)
from datapath.kernel.listeners import published
from datapath.kernel.maps import Map, opened
from datapath.reconciler import Entries, ServiceMaps, Size


class Maps:
    """They are read and written by one thread at a time."""

    def __init__(self, folder: Path, leaving_s: float) -> None:
        self._folder, self._stack = folder, ExitStack()
        services, backends = self._open(SERVICES), self._open(BACKENDS)
        self.services = ServiceMaps(services, backends, time.monotonic, leaving_s)
        self.workloads: Entries[AddressKey, Workload] = Entries(self._open(WORKLOADS))
        self.addresses: Entries[AddressKey, NodeAddress] = Entries(self._open(NODE_ADDRESSES))
        self.link_addresses: Entries[AddressKey, NodeAddress] = Entries(self._open(LINK_ADDRESSES))
        self.answers: Map[AnswerKey, Answer] = self._open(ANSWERS)
        self.macs: Entries[MacKey, NodeAddress] = Entries(self._open(OWN_MACS))
        self.settings: Map[Any, Settings] = self._open(SETTINGS)
        self.connections: Map[Flow, Connection] = self._open(CONNECTIONS)
        self.translations: Map[Flow, Translation] = self._open(TRANSLATIONS)

    def sizes(self) -> dict[str, Size]:
        return self.services.sizes() | {
            "workloads": self.workloads.size(),
            "node_addresses": self.addresses.size(),
            "link_addresses": self.link_addresses.size(),
        }

    def unfit(self) -> dict[str, str]:
        """Why entries are not there that stand each for themselves, by what they are of."""
        kinds: dict[str, Entries[Any, Any]] = {
            "pods": self.workloads,
            "node": self.addresses,
            "links": self.link_addresses,
        }
        return {what: entries.failed for what, entries in kinds.items() if entries.failed}

    def listeners(self) -> bool:
        """Whether Envoy listens, as programs find it."""
        return bool(published(self._folder))

    def _open(self, spec: Any) -> Any:
        return self._stack.enter_context(opened(spec, self._folder))

    def close(self) -> None:
        self._stack.close()
