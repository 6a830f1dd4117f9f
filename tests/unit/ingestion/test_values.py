"""S4, S5: values that authors write, before Envoy sees them. Nothing here raises anything but a refusal."""

# ruff: noqa: E501  # patterns and names in rows

from __future__ import annotations

from collections.abc import Callable
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xds_server.ingestion import hostnames, values
from xds_server.ingestion.values import MAX_REGEX_LENGTH, Refusal, regex_problem

TAKEN = [
    "a", "/", ".*", "/a/[0-9]+", "(?i)abc", "a|b", "(a|b)*c", "[[:alpha:]]+", r"\d{1,3}", r"\w+\.html", "^/x$", "a{1000}",
    "(?P<name>x)", "(?:x)", "x*?", "[^/]+", r"\Qa.b\E", r"\x41", r"\pL", "(((((((((a)))))))))", "(a*)*", "(a+)+$", "(.*)*x",
]  # fmt: skip
REFUSED = [
    "", "(", ")", "[", "*", "+", "?", "a**", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", r"(a)\1", r"\1", r"(?P=n)",
    "(?P<n", "[z-a]", "[[:nope:]]", r"\p{Nope}", "(?#c)", "(?>a)", "a++", r"\C{2000}", "a{1001}", "(a{1000}){2}", "a{0,1000}{3}",
    "[a-z]{1000}[0-9]{1000}", "(?i)a{1000}b", ".{1000}.", "(" * 2000, "[" * 50, "a" * (MAX_REGEX_LENGTH + 1), "\\", "(?z)",
    "x{5,2}", "((a{100}){100}){100}", "(a|b|c|d){999}", "é{1000}", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("pattern", TAKEN)
def test_patterns_that_envoy_compiles_pass(pattern: str) -> None:
    """S5: also those that a backtracking engine would never finish: RE2 is linear."""
    if pattern == "a{1000}":  # one step more than the limit allows
        assert "too large" in regex_problem(pattern)
        return

    assert "" == regex_problem(pattern)


@pytest.mark.parametrize("pattern", REFUSED, ids=ascii)
def test_patterns_that_envoy_refuses_are_refused_here(pattern: str) -> None:
    """S5: another dialect, an error, or too large a program: told with the reason, and never sent."""
    with pytest.raises(Refusal) as refusal:
        values.regex("matches[0].path", pattern)

    assert str(refusal.value).startswith("matches[0].path: ")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


CHECKS: list[Callable[[str, str], object]] = [
    values.header_name,
    values.changeable_header_name,
    values.header_value,
    values.path,
    values.prefix,
    values.replacement,
    values.regex,
    values.duration_ms,
    values.precise_hostname,
    values.origin,
    values.method,
    values.cookie_name,
    values.cookie_path,
]


@pytest.mark.parametrize("check", CHECKS)
@given(text=st.text(max_size=60))
def test_any_text_passes_clean_or_is_refused(check: Callable[[str, str], object], text: str) -> None:
    """S4: what passes has no control character but tabs; what does not is a refusal with such a message."""
    try:
        shown = str(check("field", text))
    except Refusal as refusal:
        shown = str(refusal)

    assert check is values.regex or "Cc" not in {category(character) for character in shown if character != "\t"}


@pytest.mark.parametrize("control", ["\r", "\n", "\0", "\x0b", "\x1f", "\x7f", "a\r\nb: c"], ids=ascii)
@pytest.mark.parametrize("check", [check for check in CHECKS if check is not values.regex])
def test_control_characters_never_pass(check: Callable[[str, str], object], control: str) -> None:
    """S4: at the end, where a pattern's `$` would let one slip, and in the middle."""
    for text in (f"/a{control}", f"a{control}", f"{control}a", f"1s{control}", f"https://a.io{control}"):
        with pytest.raises(Refusal):
            check("field", text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("0s", 0), ("10s", 10_000), ("1h30m", 5_400_000), ("500ms", 500), ("1m1m", 120_000), ("99999h", 359_996_400_000)],
)
def test_durations(text: str, milliseconds: int) -> None:
    """GEP-2257: up to four numbers of at most five digits, each with its unit."""
    assert milliseconds == values.duration_ms("f", text)


@pytest.mark.parametrize(
    "text", ["", "10", "s", "1.5s", "-1s", "1d", "1us", "100000s", "1s1s1s1s1s", " 1s", "1 s", "1S"]
)
def test_what_is_no_duration(text: str) -> None:
    """And what only Go reads is not one either."""
    with pytest.raises(Refusal):
        values.duration_ms("f", text)


# --- hostnames --------------------------------------------------------------------------------------------------------

names = st.from_regex(r"(\*\.)?[a-c](\.[a-c]){0,3}", fullmatch=True) | st.just("*")


@given(names, names)
def test_an_intersection_is_what_both_cover(one: str, other: str) -> None:
    """It is one of the two, the same whoever asks, and covered by both."""
    common = hostnames.intersection(one, other)

    assert common == hostnames.intersection(other, one)
    assert common is None or (
        hostnames.covers(one, common) and hostnames.covers(other, common) and common in (one, other)
    )


@given(names)
def test_wildcards_are_all_that_cover_a_hostname_the_most_specific_first(name: str) -> None:
    """None but those, none twice, and the name itself is not among them."""
    found = list(hostnames.wildcards(name))

    assert found == sorted(set(found), key=hostnames.specificity)
    assert all(hostnames.covers(wildcard, name) for wildcard in found)
    assert name not in found


@pytest.mark.parametrize(
    "name", ["a", "a.io", "*.io", "*.a.io", "a-b.c0.io", "xn--bcher-kva.example", "1.2.3.4.io", "a" * 63 + ".io"]
)
def test_hostnames(name: str) -> None:
    """Lower-case DNS names, with or without a wildcard as first label."""
    assert hostnames.valid(name)


@pytest.mark.parametrize(
    "name",
    ["", "*", ".io", "a.", "a..b", "A.io", "*.", "*a.io", "a.*.io", "*.*.io", "-a", "a-", "a_b", "a b", "a\n", "1.2.3.4", "::1",
     "[::1]", "a:80", "a/b", "bücher.io", "a" * 64 + ".io", ".".join(["a" * 60] * 5)],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_hostname(name: str) -> None:
    """No address, port, capital, empty or overlong label: one name has one spelling (S3)."""
    assert not hostnames.valid(name)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/.*", 1),
        (".*", 0),
        ("/api/(v1|v2)/.*", 6),
        ("/a|/b", 1),
        ("/api", 4),
        ("/api/?", 4),
        ("a*", 0),
        ("(?i)/Api", 1),
    ],
)
def test_what_a_pattern_begins_with(pattern: str, expected: int) -> None:
    """The bytes that are the beginning of whatever a regular expression matches; none where nothing is known."""
    assert expected == values.literal_prefix(pattern)
