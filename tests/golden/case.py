"""One golden case: manifests in; translated resources and conditions out, as text that people can read and compare."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from google.protobuf.json_format import MessageToDict

from tests.envoy_validate import decoded
from xds_server.files.directory import Directory
from xds_server.ingestion.frontend_ports import ALL
from xds_server.ingestion.sources import Settings
from xds_server.model.resource import LISTENER, Resource, ResourceKey
from xds_server.pipeline import Pipeline
from xds_server.status.conditions import ConditionRow, rows, translated
from xds_server.translation.settings import TranslationSettings

HERE: Final = Path(__file__).resolve().parent
EXAMPLES: Final = HERE.parents[1] / "examples"
INPUT: Final = ".in.yaml"

# Every listener has the same edge defaults: they are written out for one of them, and elsewhere only what differs.
NORM: Final = HERE / f"gateway/http-listener{INPUT}"
MANAGER: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True)
class Outcome:
    """What became of the manifests; `problems` are those that could not be used."""

    problems: tuple[str, ...]
    resources: Mapping[ResourceKey, Resource]
    conditions: tuple[ConditionRow, ...]
    faults: Mapping[Any, str]
    xds: str
    status: str


def inputs() -> dict[str, Path]:
    """By name, the manifests of each case and each folder of examples."""
    cases = {str(path.relative_to(HERE)).removesuffix(INPUT): path for path in sorted(HERE.rglob(f"*{INPUT}"))}
    return cases | {f"examples/{path.name}": path for path in sorted(EXAMPLES.iterdir()) if path.is_dir()}


def outputs(name: str) -> tuple[Path, Path]:
    """Where the resources and the conditions of a case are kept."""
    return HERE / f"{name}.xds.yaml", HERE / f"{name}.status.yaml"


@cache
def outcome(path: Path) -> Outcome:
    scan, datapath = Directory([path]).load(), path.parent.name == "mesh"
    pipeline = Pipeline.declare(
        Settings(
            undeclared_classes=("tidegate", "cilium"),
            allow_local_endpoints=True,
            pool=("127.80.0.0/16",),
            host_ports=ALL,
            datapath=datapath,
        ),
        TranslationSettings(vhds_threshold=20, datapath=datapath),
    )
    pipeline.apply(scan.changes.items())
    found = dict(pipeline.resources)
    problems = tuple(problem.text.replace(f"{path.parent}/", "") for problem in scan.problems)
    return Outcome(
        problems,
        found,
        tuple(translated(rows(pipeline.statuses.values()))),
        dict(pipeline.graph.faults),
        as_yaml(messages(found, None if path == NORM else norm())),
        as_yaml(status(pipeline, problems)),
    )


@cache
def norm() -> dict[str, Any]:
    """The connection manager of a plain HTTP listener."""
    for key, resource in sorted(outcome(NORM).resources.items()):
        if key.type_url == LISTENER:
            for manager in managers(MessageToDict(decoded(resource), preserving_proto_field_name=True)):
                return manager
    raise LookupError(f"{NORM} has no HTTP listener")


def messages(resources: Mapping[ResourceKey, Resource], usual: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """By type and name, with the fields of Envoy's documentation."""
    found: dict[str, dict[str, Any]] = {}
    for key in sorted(resources):
        message = MessageToDict(decoded(resources[key]), preserving_proto_field_name=True)
        for manager in managers(message) if usual else ():
            same = [field for field in usual or () if manager.get(field) == (usual or {})[field] and field != "@type"]
            for field in same:
                del manager[field]
            manager["the rest"] = "as in gateway/http-listener"
        found.setdefault(key.type_url.rpartition(".")[2], {})[key.name] = without_secrets(message)
    return found


def managers(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if part.get("@type", "").endswith(MANAGER):
            yield part
            return
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from managers(each)


def without_secrets(part: Any) -> Any:
    """Private keys left out; chains by their subject and digest."""
    if isinstance(part, list):
        return [without_secrets(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: "[redacted]"
        if key == "private_key"
        else chain(value)
        if key == "certificate_chain"
        else without_secrets(value)
        for key, value in part.items()
    }


def chain(source: dict[str, str]) -> str:
    pem = b64decode(source["inline_bytes"])
    subjects = [leaf.subject.rfc4514_string() for leaf in x509.load_pem_x509_certificates(pem)]
    return f"{', '.join(subjects)}; SHA-256 {sha256(pem).hexdigest()[:16]}"


def status(pipeline: Pipeline, problems: tuple[str, ...]) -> dict[str, Any]:
    conditions: dict[str, list[str]] = {}
    for row in translated(rows(pipeline.statuses.values())):
        subject = "/".join(part for part in (row.kind, row.namespace, row.name) if part)
        about = " ".join(
            filter(None, (subject, row.parent and f"at {row.parent}", row.section and f"section {row.section}"))
        )
        message = f": {row.message}" if row.message else ""
        conditions.setdefault(about, []).append(f"{row.type}={row.status} {row.reason}{message}")
    attached = {
        f"{verdict.ref.object} section {verdict.ref.section}": verdict.attached_routes
        for found in sorted(pipeline.statuses.values(), key=lambda found: found.object)
        for verdict in found.verdicts
        if verdict.attached_routes is not None
    }
    return {
        "addresses": {
            str(ref): list(frontend.addresses) or frontend.unusable
            for ref, frontend in sorted(pipeline.ingested.frontends.items())
        },
        "attached routes": attached,
        "conditions": conditions,
        "warnings": [f"{w.object} {w.field}: {w.message}" for _, w in sorted(pipeline.ingested.warnings.items())],
        "problems": list(problems),
    }


class Dumper(yaml.SafeDumper):
    """No anchors: each part is written where it is."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def as_yaml(content: dict[str, Any]) -> str:
    filled = {key: value for key, value in content.items() if value}
    return yaml.dump(filled, Dumper=Dumper, sort_keys=True, allow_unicode=True, width=120) if filled else "{}\n"
