"""The CRDs of our own: bounded, described, and the page about them is drawn from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm import CHART

Schema = dict[str, Any]

CRDS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "crds").glob("*.yaml"))}
EACH = pytest.mark.parametrize("crd", CRDS.values(), ids=CRDS)
PAGE = """# Custom resources

The kinds of group `tidegate.dev` that Tidegate adds; Gateway API's own are in docs/gateway-api.md.
Drawn from `deploy/chart/crds`: `pytest tests/unit/deploy --update-docs`.
"""


def schema(crd: Schema) -> Schema:
    [version] = crd["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def fields(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Each field below `spec` and `status`, depth first, with `[]` after lists."""
    for name, child in node.get("properties", {}).items():
        if not path and name in {"apiVersion", "kind", "metadata"}:
            continue
        below = f"{path}.{name}".lstrip(".")
        yield below, child
        yield from fields(child.get("items", child), f"{below}[]" if "items" in child else below)


def rules(node: Schema) -> Iterator[Schema]:
    """Each CEL rule anywhere below."""
    for key, child in node.items():
        if key == "x-kubernetes-validations":
            yield from child
        elif isinstance(child, dict):
            yield from rules(child)


def kind_of(field: Schema) -> str:
    match field:
        case {"enum": values}:
            return " \\| ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of {kind_of(items)}"
        case {"additionalProperties": values}:
            return f"map of {values['type']}"
        case _:
            return str(field["type"])


def page() -> str:
    return "\n".join([PAGE, *(section(crd) for crd in CRDS.values())])


def section(crd: Schema) -> str:
    spec, names = crd["spec"], crd["spec"]["names"]
    [version] = spec["versions"]
    nodes = [("", schema(crd)), *fields(schema(crd))]
    required = {
        f"{path}[].{name}" if "items" in node else f"{path}.{name}".lstrip(".")
        for path, node in nodes
        for name in node.get("items", node).get("required", ())
    }
    api = f"`{spec['group']}/{version['name']}`, {spec['scope'].lower()}"
    lines = [
        f"## {names['kind']}",
        "",
        f"{api}; `kubectl get {names['plural']}` or `{names['shortNames'][0]}`",
        "",
        schema(crd)["description"],
        "",
        "| field | type | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for path, field in fields(schema(crd)):
        default = f"`{json.dumps(field['default'])}`" if "default" in field else "required" if path in required else ""
        lines.append(f"| `{path}` | {kind_of(field)} | {default} | {field['description']} |")
    lines += ["", "What the API server refuses:", ""]
    lines += [f"- {rule['message']}" for rule in rules(schema(crd))]
    lines += ["", "What `kubectl get` shows:", ""]
    lines += [f"- {column['name']}: {column.get('description', 'since when it is there.')}"
              for column in version["additionalPrinterColumns"]]  # fmt: skip
    return "\n".join(lines) + "\n"


def test_the_documentation_describes_the_crds_as_they_are(project: Path, pytestconfig: pytest.Config) -> None:
    """docs/crds.md is current."""
    path = project / "docs" / "crds.md"
    if pytestconfig.getoption("--update-docs"):
        path.write_text(page())

    assert page() == path.read_text()


@EACH
def test_crds_are_named_after_what_they_define(crd: Schema) -> None:
    """One version, served and stored, with status beside it."""
    [version] = crd["spec"]["versions"]

    assert f"{crd['spec']['names']['plural']}.{crd['spec']['group']}" == crd["metadata"]["name"]
    assert (True, True, {"status": {}}) == (version["served"], version["storage"], version["subresources"])


@EACH
def test_every_field_is_described_and_bounded(crd: Schema) -> None:
    """S13: strings, lists and maps have limits, so that CEL and the control plane read no more; numbers too."""
    found = dict(fields(schema(crd)))
    limits = {"array": "maxItems", "string": "maxLength", "integer": "minimum"}
    items = ((f"{path}[]", field["items"]) for path, field in found.items() if "items" in field)
    bounds = [(path, field, limits.get(field["type"], "type")) for path, field in [*found.items(), *items]]
    maps = {path: field for path, field in found.items() if "additionalProperties" in field}

    assert [] == [path for path, field in found.items() if not field.get("description", "").endswith(".")]
    assert [] == [path for path, field, limit in bounds if not {limit, "enum", "format"} & field.keys()]
    assert [] == [path for path, field in maps.items() if "maxProperties" not in field]


@EACH
def test_every_refusal_names_the_field_and_a_way_out(crd: Schema) -> None:
    """Each CEL rule has a message that begins with the field's path."""
    known = {path for path, _ in fields(schema(crd))} | {f"{path}[]" for path, _ in fields(schema(crd))}
    messages = [rule["message"] for rule in rules(schema(crd))]

    assert messages
    assert [] == [text for text in messages if text.partition(":")[0] not in known]
