"""Manifests in, kept outcomes out: tests/golden/FEATURE/CASE.in.yaml begins with the sentence that the case proves.

`pytest tests/golden --update-golden` rewrites what is kept. A person must then read the difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from tests.envoy_validate import CLASSES, judgement
from tests.golden.case import EXAMPLES, HERE, INPUT, Outcome, inputs, outcome, outputs
from tests.golden.judges import dangling, needless_secrets, odd_conditions, seen_by_a_second_decoder
from xds_server.model.resource import DATAPATH, SECRET

CASES = inputs()


@pytest.fixture(params=CASES, ids=str)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def found(name: str) -> Outcome:
    return outcome(CASES[name])


def test_the_outcome_is_what_it_was(name: str, found: Outcome, request: pytest.FixtureRequest) -> None:
    """Resources and conditions are those that somebody has read and kept."""
    kept = dict(zip(outputs(name), (found.xds, found.status), strict=True))
    if request.config.getoption("--update-golden"):
        for path, content in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    assert {path: path.read_text() if path.exists() else "" for path in kept} == kept


def test_envoy_takes_it(name: str, found: Outcome, envoy: Path, tmp_path: Path) -> None:
    """Envoy's own `--mode validate` has nothing against the resources."""
    assert "" == judgement(envoy, found.resources, tmp_path)


def test_a_second_decoder_reads_the_same(name: str, found: Outcome) -> None:
    """envoy-data-plane, which shares no code with Google's protobuf, reads and writes every resource without loss."""
    for key, resource in found.resources.items():
        if key.type_url in DATAPATH:
            continue
        assert CLASSES[key.type_url].FromString(resource.body) == seen_by_a_second_decoder(resource), key


def test_every_reference_leads_somewhere(name: str, found: Outcome) -> None:
    """Nothing is named that is not served, and no secret is served that no listener presents."""
    assert [] == dangling(found.resources)
    assert [] == needless_secrets(found.resources)


def test_conditions_use_the_words_of_the_specification(name: str, found: Outcome) -> None:
    """Each condition has a type, a status and a reason that go together, and no transformation has raised."""
    assert [] == odd_conditions(found.conditions)
    assert {} == found.faults


def test_no_private_key_is_shown(name: str, found: Outcome) -> None:
    """S17: no line of a private key is in a condition, a warning, a problem or a kept file."""
    keys = [
        Secret.FromString(r.body).tls_certificate.private_key
        for key, r in found.resources.items()
        if key.type_url == SECRET
    ]
    lines = [line for key in keys for line in key.inline_bytes.decode().splitlines() if not line.startswith("-----")]

    assert [] == [line for line in lines if line in found.xds or line in found.status]


def test_only_hostile_manifests_have_problems(name: str, found: Outcome) -> None:
    """Other cases are made of objects that an API server lets through."""
    assert name.startswith("hostile/") or found.problems == ()


def test_every_case_says_what_it_proves() -> None:
    """The first line of an input is a comment with a sentence."""
    first = {name: path.read_text().splitlines()[0] for name, path in CASES.items() if path.is_file()}

    assert {} == {name: line for name, line in first.items() if not (line.startswith("# ") and line.endswith("."))}


def test_nothing_is_kept_without_an_input(request: pytest.FixtureRequest) -> None:
    """An outcome whose input is gone goes too."""
    expected = {path for name in CASES for path in outputs(name)}
    orphans = {path for path in HERE.rglob("*.yaml") if not path.name.endswith(INPUT)} - expected
    if request.config.getoption("--update-golden"):
        for path in orphans:
            path.unlink()
        orphans = set()

    assert set() == orphans
    assert EXAMPLES.is_dir()
