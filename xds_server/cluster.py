"""The default in a cluster: objects come from the API server, and their authors are tenants."""

from __future__ import annotations

from xds_server.config import Config
from xds_server.ingestion.sources import Settings
from xds_server.model.refs import ObjectRef
from xds_server.objects.tidegate import Exposure
from xds_server.pipeline import Pipeline
from xds_server.translation.settings import TranslationSettings


def cluster_pipeline(config: Config) -> Pipeline:
    """The pipeline for an API server: a class is ours if its object says so, and endpoints must not be local (S11).

    Secrets and ConfigMaps are read once something refers to them.
    """
    namespace, _, name = config.default_tls_secret.partition("/")
    return Pipeline.declare(
        Settings(
            pool=config.pool,
            namespace=config.cluster.namespace if config.cluster else Settings().namespace,
            reads_on_demand=True,
            highest_port=65535 - config.port_offset,
            loadbalancer_mode=config.ingress_mode,
            exposure=Exposure(type=config.exposure),
            host_ports=config.host_ports,
            datapath=config.datapath,
            default_tls_secret=ObjectRef("Secret", namespace, name) if name else None,
        ),
        TranslationSettings(port_offset=config.port_offset, datapath=config.datapath),
    )
