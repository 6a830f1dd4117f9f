"""The C header and Python's table of it say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import calcsize

import pytest

from datapath.kernel import layout
from datapath.kernel.layout import KINDS, STRUCTS, Direction, MapSpec, Progress, Reason, ServiceFlag
from datapath.kernel.libbpf import map_info
from tests.bpf.btf import Field, Types, types
from tests.bpf.stand import OBJECTS, Stand


@pytest.fixture(scope="module")
def compiled(build: Path) -> Iterator[Types]:
    with types(*(build / f"{name}.bpf.o" for name in OBJECTS)) as found:
        yield found


def declared(struct: str) -> list[Field]:
    fields, offset = [], 0
    for name, kind in (field.split(":") for field in STRUCTS[struct].split()):
        size = calcsize("=" + KINDS[kind].code)
        fields.append(Field(name, offset, size))
        offset += size
    return fields


def spread(compiled: Types, fields: list[Field]) -> Iterator[Field]:
    """A structure within one is spread out in Python."""
    for field in fields:
        if field.name not in {"flow", "backend"}:
            yield field
            continue
        for inner in compiled.fields(field.name):
            name = f"{field.name}_pad" if inner.name == "pad" else inner.name
            yield Field(name, field.offset + inner.offset, inner.size)


def filled(fields: list[Field], size: int) -> list[Field]:
    """What the compiler leaves free at the end is padding of ours."""
    end = fields[-1].offset + fields[-1].size
    return fields if end == size else [*fields, Field("pad", end, size - end)]


@pytest.mark.parametrize("struct", sorted(STRUCTS))
def test_a_structure_has_the_same_fields_in_c(compiled: Types, struct: str) -> None:
    """Each at the same offset, of the same size, with nothing left between them."""
    fields = filled(list(spread(compiled, compiled.fields(struct))), compiled.size(struct))

    assert fields == filled(declared(struct), compiled.size(struct))


@pytest.mark.parametrize(
    ("enumeration", "names", "end"), [("reason", Reason, "REASONS"), ("direction", Direction, "DIRECTIONS")]
)
def test_an_enumeration_has_the_same_names_in_c(
    compiled: Types, enumeration: str, names: type[IntEnum], end: str
) -> None:
    """What is counted in the kernel is told by its name."""
    values = compiled.enumerators(enumeration)

    assert {each.name: each.value for each in names} | {end: len(names)} == values


def test_the_numbers_of_the_header_are_those_of_python(build: Path) -> None:
    """Marks, tables and limits, which are no types."""
    header = "".join((build.parent / name).read_text() for name in ("intercept.h", "remembered.h"))
    defined = {
        name: int(value, 0) for name, value in re.findall(r"#define (\w+) (0x[0-9a-f]+|[0-9]+)(?:ULL)?\b", header)
    }
    ours = {name: value for name, value in vars(layout).items() if name in defined and isinstance(value, int)}
    flags = {f"SERVICE_{flag.name}": flag.value for flag in ServiceFlag}
    flags |= {f"FLOW_{flag.name}": flag.value for flag in Progress}
    said = {name: int(value) for name, value in re.findall(r"((?:SERVICE|FLOW)_\w+) = ([0-9]+),", header)}

    assert {name: defined[name] for name in ours} == ours
    assert {"MARK_TO_PROXY", "MARK_REFUSE", "CAPTURE_PORT", "LAYOUT", "PATIENCE_NS", "NODE_PORTS", "OPENING_S"} <= set(
        ours
    )
    assert flags == said


def test_maps_have_the_keys_and_values_of_python(tmp_path: Path) -> None:
    """Each map that Python knows by its entries is opened as what it is."""
    specs = [each for each in vars(layout).values() if isinstance(each, MapSpec)]
    with Stand(tmp_path / "bpffs") as stand:
        found = {spec.name: map_info(stand.map(spec).fd, spec.name) for spec in specs}

    assert {spec.name: (spec.key.size, spec.value.size) for spec in specs} == {
        name: (info.key_size, info.value_size) for name, info in found.items()
    }


def test_the_verifier_is_far_from_its_limit(tmp_path: Path, record_property: pytest.FixtureRequest) -> None:
    """Half of the million instructions that it looks at: more would fail on another kernel."""
    with Stand(tmp_path / "bpffs") as stand:
        verified = {name: program.verified_instructions for name, program in stand.programs.items()}
    for name, instructions in verified.items():
        record_property(name, instructions)  # type: ignore[operator]

    assert {} == {name: instructions for name, instructions in verified.items() if instructions > 500_000}
