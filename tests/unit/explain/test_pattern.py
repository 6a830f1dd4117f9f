"""RE2 as Envoy runs it."""

from __future__ import annotations

from xds_server.explain.pattern import matches, replaced


def test_a_dot_is_one_byte() -> None:
    """Envoy's expressions see bytes: a letter that UTF-8 spells with two needs two dots."""
    assert [False, True] == [matches(pattern, "/é") for pattern in ("/.", "/..")]


def test_groups_are_put_in_and_the_rest_is_kept() -> None:
    r"""A substitution names groups as \1, and text that does not match stays, whatever its letters."""
    assert "x-éa-ö" == replaced("(a)(é)", r"\2\1", "x-aé-ö")
