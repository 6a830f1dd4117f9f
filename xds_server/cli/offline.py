"""A directory of manifests through the whole pipeline, without a server and without an Envoy."""

from __future__ import annotations

from typing import NamedTuple

from xds_server.config import Config, ConfigError
from xds_server.embedded import embedded_pipeline
from xds_server.files.directory import Directory
from xds_server.files.problems import Notice, Problem
from xds_server.pipeline import Pipeline


class Offline(NamedTuple):
    """`problems` are manifests that cannot be used, `notices` those that are not read."""

    directory: Directory
    pipeline: Pipeline
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


def load(config: Config) -> Offline:
    """Read, put and commit everything once.

    :raises ConfigError: there is nothing to read, which is more likely a wrong path than a wish.
    """
    directory = Directory(config.manifests)
    scan = directory.load()
    if not scan.changes and not scan.problems and not scan.notices:
        looked = ", ".join(map(str, config.manifests))
        raise ConfigError(f"-f {looked}: no manifest in it; files end in .yaml, .yml or .json")
    pipeline = embedded_pipeline(config)
    pipeline.apply(scan.changes.items())
    return Offline(directory, pipeline, tuple(scan.problems), tuple(scan.notices))
