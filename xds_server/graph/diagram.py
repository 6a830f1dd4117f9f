"""The graph draws itself, so that its picture cannot be wrong."""

from __future__ import annotations

from xds_server.graph.collection import Collection, Derived, Index, Union
from xds_server.graph.graph import Graph


def mermaid(graph: Graph) -> str:
    """A flow chart: solid arrows are what a collection derives from, dotted ones what its transformation has read."""
    numbers = {collection: number for number, collection in enumerate((graph.faults, *graph.collections))}
    lines = ["flowchart LR"]
    lines += [f'  c{number}["{collection.name}"]' for collection, number in numbers.items()]
    for collection, number in numbers.items():
        parents = _parents(collection)
        lines += [f"  c{numbers[parent]} --> c{number}" for parent in parents]
        if isinstance(collection, Derived):
            read = sorted(numbers[source] for source in collection.inputs if source not in parents)
            lines += [f"  c{source} -.-> c{number}" for source in read]
    return "\n".join(lines) + "\n"


def _parents(collection: Collection[object, object]) -> list[Collection[object, object]]:
    if isinstance(collection, Union):
        return list(collection.parts)
    if isinstance(collection, Derived):
        parent = collection.parent
        return [parent.of if isinstance(parent, Index) else parent]
    return []
