"""The embedded default: manifests are the source, and their author is the operator."""

from __future__ import annotations

from xds_server.config import Config
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.objects.tidegate import Exposure
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings


def embedded_pipeline(config: Config) -> Pipeline:
    """The pipeline for manifests: their author is the operator, so endpoints may be on loopback.

    Two class names are ours without an object that says so.
    """
    namespace, _, name = config.default_tls_secret.partition("/")
    return Pipeline.declare(
        Settings(
            undeclared_classes=("tidegate", "cilium"),
            pool=config.pool,
            allow_local_endpoints=True,
            node_addresses=("127.0.0.1",),
            highest_port=65535 - config.port_offset,
            loadbalancer_mode=config.ingress_mode,
            exposure=Exposure(type=config.exposure),
            host_ports=config.host_ports,
            datapath=config.datapath,
            default_tls_secret=ObjectRef("Secret", namespace, name) if name else None,
        ),
        TranslationSettings(port_offset=config.port_offset, datapath=config.datapath),
    )
