"""A directory of manifests through the whole pipeline, without a server and without an Envoy."""

from __future__ import annotations

from typing import NamedTuple

from xds_server.config import Config
from xds_server.embedded import embedded_pipeline
from xds_server.files.directory import Directory
from xds_server.files.problems import Notice, Problem
from xds_server.pipeline import Pipeline


class Offline(NamedTuple):
    """`problems` are manifests that cannot be used, `notices` those that are not read."""

    pipeline: Pipeline
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


def load(config: Config) -> Offline:
    """Read, put and commit everything once."""
    directory = Directory(config.manifests)
    scan = directory.load()
    pipeline = embedded_pipeline(config)
    pipeline.apply(scan.changes.items())
    return Offline(pipeline, tuple(scan.problems), tuple(scan.notices))
