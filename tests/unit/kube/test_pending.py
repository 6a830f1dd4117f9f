"""Which objects are looked at, and when."""

from __future__ import annotations

from xds_server.kube.pending import Pending
from xds_server.model.refs import ObjectRef

A, B = (ObjectRef("HTTPRoute", "default", name) for name in "ab")


def test_an_object_is_in_it_once() -> None:
    """However often it is wanted, the earliest time counts."""
    pending = Pending()
    for at in (3.0, 1.0, 2.0):
        pending.want(A, at)

    assert (1, 1.0, None) == (len(pending), pending.next_at(), pending.take(0.5))
    assert (A, None) == (pending.take(1.0), pending.take(9.0))


def test_one_at_a_time_looks_at_an_object() -> None:
    """What is wanted of a busy one waits until it is done."""
    pending = Pending()
    pending.want(A, 0.0)
    pending.take(0.0)
    pending.want(A, 1.0)
    pending.want(B, 2.0)
    busy = [pending.take(3.0), pending.take(3.0)]
    pending.done(A)

    assert ([B, None], A) == (busy, pending.take(3.0))


def test_nobody_shortens_a_back_off() -> None:
    """Unless it is forgiven."""
    pending = Pending()
    pending.want(A, 1.0)
    pending.back_off(A, 5.0)
    pending.want(A, 2.0)
    early, at = pending.take(4.9), pending.next_at()
    pending.forgive(A)
    pending.want(A, 2.0)

    assert (None, 5.0, A) == (early, at, pending.take(2.0))


def test_what_is_forgotten_is_wanted_no_more() -> None:
    """All but those that are busy."""
    pending = Pending()
    pending.want(A, 0.0)
    pending.take(0.0)
    pending.want(B, 0.0)
    pending.back_off(B, 9.0)
    pending.clear()
    pending.done(A)

    assert (0, None, None) == (len(pending), pending.take(10.0), pending.next_at())
