"""Fills the page by which a replica of the control plane tells of itself; see `overview.replica`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from cryptography import x509

from xds_server.config import TlsFiles
from xds_server.graph import Collection
from xds_server.ingestion.features import SUPPORTED_FEATURES
from xds_server.model.resource import Resource, ResourceKey
from xds_server.overview.replica import Replica, Stream, Type, digest
from xds_server.xds.streams import Connection, Streams

VERSION: Final = version("tidegate")
_DIGEST_S: Final = 1.0


@dataclass(slots=True)
class Told:
    """Reads the parts of a control plane whenever it is asked; those of a cluster are set by who adds them."""

    streams: Streams
    resources: Collection[ResourceKey, Resource]
    awaited: Callable[[], str]
    tls: TlsFiles | None
    leads: Callable[[], bool] = lambda: False
    waiting_statuses: Callable[[], int] = lambda: 0
    ages: Callable[[], Mapping[str, float]] = dict
    undecodable: Callable[[], Mapping[str, int]] = dict
    _digested: tuple[int, str] = field(init=False, default=(-1, ""))
    _digest_due: float = field(init=False, default=0.0)

    def replica(self) -> Replica:
        return Replica(
            tidegate=VERSION,
            leads=self.leads(),
            awaited=self.awaited(),
            features=SUPPORTED_FEATURES,
            resources=len(self.resources),
            digest=self._digest(),
            ages={kind: round(age_s, 1) for kind, age_s in self.ages().items()},
            undecodable={kind: number for kind, number in self.undecodable().items() if number},
            waiting_statuses=self.waiting_statuses(),
            certificates=dict(_certificates(self.tls)) if self.tls else {},
            streams=tuple(self._stream(each) for each in self.streams.connections() if each.of_proxy),
        )

    def _digest(self) -> str:
        """Anew when the table has changed, and once a second at most: of many resources it takes a moment."""
        revision, now = self.streams.table.revision, self.streams.clock()
        if self._digested[0] != revision and now >= self._digest_due:
            self._digest_due = now + _DIGEST_S
            versions = ((*key, resource.version) for key, resource in self.resources.items())
            self._digested = revision, digest(versions)
        return self._digested[1]

    def _stream(self, connection: Connection) -> Stream:
        now = self.streams.clock()

        def ago(when: Mapping[str, float], type_url: str) -> float | None:
            return round(now - when[type_url], 1) if type_url in when else None

        return Stream(
            node=connection.stream.node_id,
            envoy=connection.envoy,
            connected_s=round(now - connection.since, 1),
            types={
                type_url: Type(
                    **reading._asdict(),
                    accepted_s=ago(connection.accepted_at, type_url),
                    rejected_s=ago(connection.rejected_at, type_url),
                )
                for type_url, reading in connection.stream.readings().items()
            },
        )


def _certificates(files: TlsFiles) -> Iterator[tuple[str, datetime]]:
    """Until when they hold; of a bundle, the first. A file that cannot be read now is being replaced."""
    for what, path in (("server", files.certificate), ("authority", files.client_ca)):
        until = _expiry(path)
        if until is not None:
            yield what, until


def _expiry(path: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
