"""YAML is read as Kubernetes reads it, by whichever reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.files import syntax
from xds_server.files.nodes import Malformed, line_of, tree

READ = {
    "a: yes": True, "a: Yes": True, "a: on": True, "a: y": True, "a: true": True, "a: TRUE": True,
    "a: no": False, "a: off": False, "a: N": False, "a: false": False,
    "a: tRue": "tRue", "a: 'yes'": "yes", 'a: "no"': "no", "a: yesterday": "yesterday", "a: on-call": "on-call",
    "a:": None, "a: ~": None, "a: null": None, "a: 'null'": "null",
    "a: 80": 80, 'a: "80"': "80", "a: '80'": "80", "a: +80": 80, "a: -1": -1,
    "a: 010": 8, "a: 0o10": 8, "a: 08": 8, "a: 00": 0, "a: 0": 0, "a: 0x1F": 31, "a: 0b11": 3, "a: 1_000": 1000,
    "a: 1.5": 1.5, "a: 1e3": 1000, "a: .5": 0.5, "a: 1.20": 1.2,
    "a: 12:30": "12:30", "a: 10:30:00": "10:30:00", "a: ::1": "::1", "a: 10.0.0.0/8": "10.0.0.0/8", "a: 1.2.3": "1.2.3",
    "a: 2024-01-01": "2024-01-01", "a: 2024-01-01T00:00:00Z": "2024-01-01T00:00:00Z",
    "a: 500ms": "500ms", "a: =": "=", "a: b#c": "b#c", "a: b #c": "b",
    "a: !!str 80": "80", 'a: !!int "80"': 80,
    "a: |\n  x\n  ---\n  y\n": "x\n---\ny\n", "a: >-\n  x\n  y\n": "x y", "a: x\n  y": "x y", 'a: "x\\n"': "x\n",
    "a: {b: c, d: [e]}": {"b": "c", "d": ["e"]}, "a:\n- b\n- c": ["b", "c"], "a:\t1": 1,
    "a: {b: &x [1], c: *x}": {"b": [1], "c": [1]},
    "a: {b: &x {k: 1, l: 2}, c: {<<: *x, l: 3}}": {"b": {"k": 1, "l": 2}, "c": {"k": 1, "l": 3}},
    "a: {80: b, 010: c, yes: d, 1.5: e}": {"80": "b", "8": "c", "true": "d", "1.5": "e"},
    "a: {on: b}": {"true": "b"}, 'a: {"on":yes}': {"on": True}, "a: [no,off]": [False, False],
}  # fmt: skip

REFUSED = {
    "a duplicate key": ("a: 1\na: 2\n", 2, "twice"),
    "a duplicate key, spelled otherwise": ("a: {80: x, '80': y}\n", 1, "twice"),
    "a tab that indents": ("a:\n\tb: 1\n", 2, "cannot start any token"),
    "an alias without an anchor": ("a: *.example.com\n", 1, "alphabetic"),
    "an unknown alias": ("x: 1\na: *nope\n", 2, "anchor"),
    "an alias to itself": ("a: &a [*a]\n", 1, "anchor"),
    "a tag that runs code": ("a: !!python/object/apply:os.system [id]\n", 1, "means nothing here"),
    "an unknown tag": ("x: 1\na: !secret x\n", 2, "means nothing here"),
    "a tag that does not fit": ("a: !!int x\n", 1, "tagged"),
    "a list as a key": ("? [a]\n: 1\n", 1, "a key is text"),
    "nothing as a key": ("~: 1\n", 1, "a key is text"),
    "infinity": ("a: .inf\n", 1, "no number of JSON"),
    "a control character": ("b: 1\na: \x01\n", 2, "control characters"),
    "an open quote": ("a: 'x\nb: 1\n", 2, "quoted scalar"),
    "an open bracket": ("a: [1\n", 1, "expected ',' or ']'"),
    "a colon too many": ("x: 1\na: b: c\n", 2, "mapping values are not allowed"),
    "a merge of a scalar": ("a:\n  <<: 1\n", 2, "merges mappings only"),
    "two documents": ("a: 1\x85---\x85b: 2\n", 2, "second document"),
}


@pytest.mark.parametrize("text", READ)
def test_scalars_mean_what_they_mean_to_kubernetes(text: str) -> None:
    """YAML 1.1 with goyaml's exceptions, whichever reader takes the document."""
    sure, quick = syntax.quick(text)
    if sure and isinstance(quick["a"], float) and quick["a"].is_integer():
        quick["a"] = int(quick["a"])  # JSON has one kind of number

    assert {"a": READ[text]} == syntax.exact(text)
    assert not sure or quick == {"a": READ[text]}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_document_is_refused_with_its_line(name: str) -> None:
    """The line is the one that a person would look at, and neither reader lets it pass."""
    text, line, reason = REFUSED[name]

    sure, _ = syntax.quick(text)
    with pytest.raises(Malformed) as refused:
        syntax.exact(text)

    assert not sure or name in {"infinity", "nothing as a key"}  # which the check of any field refuses
    assert line == refused.value.line
    assert reason in refused.value.message


def test_aliases_cannot_blow_up() -> None:
    """A billion laughs cost no more than their text."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    with pytest.raises(Malformed, match="aliases add more than"):
        syntax.exact("\n".join(rows))


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 20_000, "\n".join(" " * n + "a:" for n in range(500))])
def test_depth_is_bounded(text: str) -> None:
    """Hostile depth is an error, and no stack overflow."""
    sure, _ = syntax.quick(text)

    assert not sure
    with pytest.raises(Malformed, match="levels deep"):
        syntax.exact(text)


JSON_REFUSED = {
    '{"a": 1, "a": 2}': "duplicate key 'a'",
    '{"a": NaN}': "NaN",
    r'{"a": "\ud800"}': "half of a character",
    '{"a": 1': "no JSON",
    "[" * 100_000: "nested too deeply",
    '{"a": 1} {"b": 2}': "Extra data",
}


@pytest.mark.parametrize("text", JSON_REFUSED)
def test_json_is_read_strictly(text: str) -> None:
    """A key that comes twice, NaN, depth and half a document are errors."""
    with pytest.raises(Malformed, match=JSON_REFUSED[text]):
        syntax.json_value(text)


def test_the_line_of_a_field_is_that_of_its_key() -> None:
    """A field that is not there has the line of what it is missing from."""
    root = tree("---\nspec:\n  rules:\n  - name: a\n  - name: b\n    ports: {}\n")

    assert 5 == line_of(root, ("spec", "rules", 1, "name"))
    assert 6 == line_of(root, ("spec", "rules", 1, "ports", "http"))
    assert 5 == line_of(root, ("spec", "rules", 1, "missing"))
    assert 3 == line_of(root, ("spec", "rules", 7))
    assert 2 == line_of(root, ())


plain = st.text(alphabet="yYnNoOesfF.+-_0123456789xabE:~#&*!<= '\"", max_size=8)


@given(plain, st.sampled_from(["a: {}", "a: [{}]", "a: {{b: {}}}", "- {}", "{}: a", '{{"a":{}}}']))
def test_the_two_readers_agree(text: str, around: str) -> None:
    """Whatever the fast reader is sure of, the exact one reads alike, or a check refuses."""
    document = around.format(text)
    sure, quick = syntax.quick(document)
    if not sure:
        return
    try:
        exact = syntax.exact(document)
    except Malformed as error:
        assert "JSON" in error.message or "key" in error.message or "bounds" in error.message  # noqa: PT017
        return

    assert _numbers(quick) == _numbers(exact)


def _numbers(value: object) -> object:
    """Values as JSON has them: one kind of number, and keys that are text."""
    if isinstance(value, dict):
        return {key if isinstance(key, str) else json.dumps(_whole(key)): _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return _whole(value)


def _whole(value: object) -> object:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
