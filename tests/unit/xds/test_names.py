"""A set of names, compared with a set of names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xds_server.xds.names import Names

names = st.sets(st.integers(0, 200).map(str))


@given(names, st.lists(st.tuples(st.booleans(), names)))
def test_it_is_a_set(first: set[str], changes: list[tuple[bool, set[str]]]) -> None:
    """Adding and dropping gives what a plain set gives."""
    ours, plain = Names(first), set(first)
    for adds, some in changes:
        (ours.update if adds else ours.difference_update)(some)
        (plain.update if adds else plain.difference_update)(some)

        assert plain == set(ours)
        assert len(plain) == len(ours)
        assert all((name in ours) == (name in plain) for name in map(str, range(201)))


def test_equal_sets_share_their_names() -> None:
    """A thousand clients that ask for the same cost little more than one."""
    many = [Names(str(n) for n in range(1000)) for _ in range(10)]
    for ours in many:
        ours.update(f"x{n}" for n in range(300))

    assert 1 == len({id(ours._shared) for ours in many})
    assert all(not ours._added and not ours._dropped for ours in many)
