"""Writes `xds_server/files/definitions.py`: the fields of the served kinds, as the API server knows them.

    python -m tests.unit.files.schema_source [FOLDER OF CRDS]...

Core kinds are read from kubernetes_asyncio's models, others from CustomResourceDefinitions: those of Gateway API from
its experimental channel, ours from the chart. Kinds that no folder has stay as they are.
Only facts are kept, no descriptions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from kubernetes_asyncio.client import models

TARGET = Path(__file__).resolve().parents[3] / "xds_server/files/definitions.py"
DOCSTRING = '''"""The fields of the served kinds, as OpenAPI: written by tests/unit/files/schema_source.py."""
# ruff: noqa: E501  # a pattern is one line, however long

from __future__ import annotations

from typing import Any, Final
'''
KEPT = (
    "type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "minProperties",
    "maxProperties", "required", "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-int-or-string",
)  # fmt: skip
CORE = {
    "Service": "V1Service",
    "Secret": "V1Secret",
    "ConfigMap": "V1ConfigMap",
    "Namespace": "V1Namespace",
    "Pod": "V1Pod",
    "Node": "V1Node",
    "EndpointSlice": "V1EndpointSlice",
    "Ingress": "V1Ingress",
    "IngressClass": "V1IngressClass",
}
# Of what describes programs, only this is looked into.
PARTS: dict[str, set[str]] = {"V1PodSpec": {"hostNetwork", "nodeName"}, "V1NodeSpec": set()}
# Kind -> versions with fields of their own: v1beta1 of all kinds and v1alpha3 of TLSRoute have those of v1.
CRDS = {
    "gatewayclasses": ("v1",),
    "gateways": ("v1",),
    "httproutes": ("v1",),
    "grpcroutes": ("v1",),
    "referencegrants": ("v1",),
    "tlsroutes": ("v1", "v1alpha2"),
    "tcproutes": ("v1", "v1alpha2"),
    "udproutes": ("v1", "v1alpha2"),
    "gatewayparameters": ("v1alpha1",),
    "loadbalancerippools": ("v1alpha1",),
    "l2announcementpolicies": ("v1alpha1",),
}
SCALARS = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string"},
    "object": {},
}
Definitions = dict[str, dict[str, Any]]


def core() -> Definitions:
    """The core kinds' definitions, each model under its own name; `status` is not looked into."""
    found: Definitions = {}
    for kind, model in CORE.items():
        found[kind] = {"$ref": model}
        _model(model, found)
    return found


def _model(name: str, found: Definitions) -> None:
    if name in found:
        return
    model = getattr(models, name)
    found[name] = {"type": "object", "properties": (properties := {})}
    for attribute, spelled in sorted(model.attribute_map.items(), key=lambda item: item[1]):
        properties[spelled] = (
            {}
            if spelled in {"status", "managedFields"} or spelled not in PARTS.get(name, {spelled})
            else _typed(model.openapi_types[attribute], found)
        )


def _typed(of: str, found: Definitions) -> dict[str, Any]:
    if of in SCALARS:
        return SCALARS[of]
    if inner := re.fullmatch(r"list\[(.*)\]", of):
        return {"type": "array", "items": _typed(inner[1], found)}
    if inner := re.fullmatch(r"dict\(str, (.*)\)", of):
        return {"type": "object", "additionalProperties": _typed(inner[1], found)}
    _model(of, found)
    return {"$ref": of}


def others(folder: Path) -> Definitions:
    """The kinds of a folder's CRDs; equal parts are written once, under the name of the field that has them."""
    found: Definitions = {}
    crds = {crd["spec"]["names"]["plural"]: crd for path in folder.glob("*.yaml") if (crd := _crd(path))}
    for plural, versions in CRDS.items():
        if plural not in crds:
            continue
        kind = crds[plural]["spec"]["names"]["kind"]
        for version in crds[plural]["spec"]["versions"]:
            if version["name"] in versions:
                name = kind if version["name"] == versions[0] else f"{kind}.{version['name']}"
                schema = _reduced(version["schema"]["openAPIV3Schema"], name, found)
                found[name] = found.pop(name) if schema == {"$ref": name} else schema
    return found


def _crd(path: Path) -> Any:
    document = yaml.safe_load(path.read_text())
    return document if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition" else None


def _reduced(schema: dict[str, Any], path: str, found: Definitions) -> dict[str, Any]:
    kept = {key: schema[key] for key in KEPT if key in schema}
    if "x-kubernetes-list-type" in kept and kept["x-kubernetes-list-type"] != "set":
        del kept["x-kubernetes-list-type"]
    if isinstance(schema.get("items"), dict):
        kept["items"] = _reduced(schema["items"], path, found)
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _reduced(schema["additionalProperties"], path, found)
    if "anyOf" in schema and "pattern" not in kept and "maxLength" not in kept:
        kept |= {"anyOf": [_reduced(each, path, found) for each in schema["anyOf"]]}
    if "properties" not in schema:
        return kept
    kept["properties"] = {
        name: {}
        if name == "status"
        else {"$ref": "V1ObjectMeta"}
        if name == "metadata"
        else _reduced(of, f"{path}.{name}", found)
        for name, of in sorted(schema["properties"].items())
    }
    for name, known in found.items():
        if known == kept:
            return {"$ref": name}
    found[path] = kept
    return {"$ref": path}


def written(definitions: Definitions) -> str:
    """The module's text, in the one format."""
    text = f"{DOCSTRING}\nDEFINITIONS: Final[dict[str, dict[str, Any]]] = {definitions!r}\n"
    ruff = [sys.executable, "-m", "ruff", "format", "--config", "line-length=120", "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def present() -> Definitions:
    scope: dict[str, Any] = {}
    exec(TARGET.read_text(), scope)
    return dict(scope["DEFINITIONS"])


if __name__ == "__main__":
    ours = core()
    theirs = {name: of for name, of in present().items() if not name.startswith("V1") and name not in ours}
    for folder in sys.argv[1:]:
        theirs |= others(Path(folder))
    TARGET.write_text(written(ours | theirs))
