"""Incremental collections: declare what derives from what, then commit only what changed."""

from xds_server.graph.collection import Collection, Derived, Fetch, Group, Index, NotYet, Source, Union
from xds_server.graph.graph import Changes, Graph

__all__ = ["Changes", "Collection", "Derived", "Fetch", "Graph", "Group", "Index", "NotYet", "Source", "Union"]
