"""A directory of manifests, or a cluster as it is now, through the whole pipeline: without a server or an Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from xds_server.cluster import cluster_pipeline
from xds_server.config import Cluster, Config, ConfigError
from xds_server.embedded import embedded_pipeline
from xds_server.files.directory import Directory
from xds_server.files.problems import Notice, Problem
from xds_server.kube.client import Api, CredentialsError, credentials
from xds_server.kube.kinds import read_kinds
from xds_server.kube.once import NotReadableError, everything, referenced
from xds_server.model.refs import ObjectRef
from xds_server.pipeline import Pipeline


class Offline(NamedTuple):
    """`problems` are objects that cannot be used, `notices` manifests that are not read, `place` is file and line."""

    place: Callable[[ObjectRef], tuple[str, int] | None]
    pipeline: Pipeline
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


def load(config: Config) -> Offline:
    """Read, put and commit everything once.

    :raises ConfigError: there is nothing to read.
    """
    if config.cluster:
        return asyncio.run(_of_cluster(config, config.cluster))
    directory = Directory(config.manifests)
    scan = directory.load()
    if scan.found_nothing:
        raise ConfigError(nothing_in(config.manifests))
    pipeline = embedded_pipeline(config)
    pipeline.apply(scan.changes.items())
    return Offline(directory.place, pipeline, tuple(scan.problems), tuple(scan.notices))


def nothing_in(manifests: Iterable[Path]) -> str:
    return f"-f {', '.join(map(str, manifests))}: no manifest in it; files end in .yaml, .yml or .json"


async def _of_cluster(config: Config, cluster: Cluster) -> Offline:
    """One list of each kind, then what objects of ours refer to."""
    try:
        api = Api(await credentials(cluster.kubeconfig, cluster.context or None))
    except CredentialsError as error:
        raise ConfigError(str(error)) from None
    pipeline = cluster_pipeline(config)
    try:
        changes = await everything(api, read_kinds(cilium_pools=cluster.cilium_pools, datapath=config.datapath))
        pipeline.apply(changes.models.items())
        for ref, found in (await referenced(api, pipeline.ingested.wanted_objects)).items():
            pipeline.put(ref, found.model)
            if found.why:
                pipeline.sources.absent.put(ref, found.why)
        pipeline.graph.commit()
    except NotReadableError as error:
        raise ConfigError(str(error)) from None
    finally:
        await api.close()
    return Offline(lambda _: None, pipeline, tuple(_problem(*each) for each in sorted(changes.undecodable.items())), ())


def _problem(ref: ObjectRef, error: str) -> Problem:
    message, _, field = error.partition(" - at `$.")
    return Problem("", 0, ref, field.removesuffix("`"), message, "correct it; it is not served")
