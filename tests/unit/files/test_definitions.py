"""The generated definitions are current, and know every field that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.files import schema_source
from xds_server.files.definitions import DEFINITIONS
from xds_server.files.kinds import SERVED
from xds_server.objects.meta import Model


def test_core_kinds_are_those_of_the_pinned_client() -> None:
    """After an upgrade of kubernetes_asyncio, `python -m tests.unit.files.schema_source` is to be run."""
    current = schema_source.core()

    assert current == {name: DEFINITIONS.get(name) for name in current}


def test_our_own_kinds_are_those_of_the_chart(project: Path) -> None:
    """After a change of the CRDs, `python -m tests.unit.files.schema_source deploy/chart/crds` is to be run."""
    current = schema_source.others(project / "deploy" / "chart" / "crds")

    assert {"GatewayParameters", "LoadBalancerIPPool"} <= current.keys()
    assert current == {name: DEFINITIONS.get(name) for name in current}


def test_the_module_is_as_it_was_written() -> None:
    """Nobody has edited it by hand."""
    assert schema_source.written(DEFINITIONS) == schema_source.TARGET.read_text()


@pytest.mark.parametrize("kind", sorted({kind for _, kind in SERVED}))
def test_every_field_that_is_read_may_be_written(kind: str) -> None:
    """A field of a Struct that no definition has could never be set."""
    for (_, name), served in SERVED.items():
        if name == kind:
            assert [] == list(unknown(served.struct, DEFINITIONS[served.definition], kind))


def unknown(struct: type[Model], definition: dict[str, Any], path: str) -> Any:
    while "$ref" in definition:
        definition = DEFINITIONS[definition["$ref"]]
    for field in msgspec.structs.fields(struct):
        of = definition["properties"].get(field.encode_name)
        if of is None and not path.endswith(FILTERS_OF_OTHERS.get(field.encode_name, "?")):
            yield f"{path}.{field.encode_name}"
        if of:
            for inner in structs(field.type):
                yield from unknown(inner, of.get("items", of), f"{path}.{field.encode_name}")


# HTTPRoute, GRPCRoute and TLSRoute share Structs for what only some of them have.
FILTERS_OF_OTHERS = {
    "filters": "backendRefs", "cors": "filters", "externalAuth": "filters", "requestRedirect": "filters",
    "urlRewrite": "filters", "useDefaultGateways": "spec",
}  # fmt: skip


def structs(of: Any) -> list[type[Model]]:
    """The Structs within a type."""
    if isinstance(of, type) and issubclass(of, Model):
        return [of]
    return [each for inner in getattr(of, "__args__", ()) for each in structs(inner)]
