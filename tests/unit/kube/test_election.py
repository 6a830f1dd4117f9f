"""Who leads: one at a time, whatever happens to clocks and to the API server."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from xds_server.kube.election import (
    DEADLINE_S,
    DURATION_S,
    RENEW_S,
    RETRY_S,
    Answer,
    Attempt,
    Election,
    Lease,
    LeaseSpec,
    Question,
    Write,
)


@dataclass
class Store:
    """The one Lease, as an API server keeps it."""

    lease: Lease | None = None
    version: int = 0
    down: bool = False
    asked: list[Question] = field(default_factory=list)

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        if self.down:
            return "failed"
        if isinstance(question, Write):
            if question.resource_version != (self.lease.resource_version if self.lease else ""):
                return "conflict"
            self.version += 1
            self.lease = Lease(str(self.version), question.spec)
        return self.lease or "absent"


@dataclass
class Time:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def candidate(name: str, clock: Callable[[], float]) -> Election:
    return Election(name, clock, lambda: f"{clock():.6f}")


def run(attempt: Attempt, answer: Callable[[Question], Answer]) -> float:
    try:
        question = next(attempt)
        while True:
            question = attempt.send(answer(question))
    except StopIteration as stop:
        return float(stop.value)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store() -> Store:
    return Store()


def test_the_first_one_makes_the_lease_and_leads(time: Time, store: Store) -> None:
    """A Lease that is not there is made, and names its holder."""
    one = candidate("one", time)

    assert RENEW_S == run(one.attempt(), store.answer)
    assert (True, 1) == (one.leads, one.term)
    assert LeaseSpec("one", 15, "0.000000", "0.000000", 0) == (store.lease and store.lease.spec)


def test_a_holder_renews_without_reading(time: Time, store: Store) -> None:
    """One write every 5 s, and the term is the same."""
    one = candidate("one", time)
    for _ in range(4):
        time.now += run(one.attempt(), store.answer)

    assert (["Read", "Write", "Write", "Write", "Write"], 1) == ([type(q).__name__ for q in store.asked], one.term)
    assert (20.0, True) == (time.now, one.leads)


def test_another_waits_until_the_lease_has_run_out_by_its_own_clock(time: Time, store: Store) -> None:
    """It counts from when it saw the Lease change last, and not from a time that is written there."""
    one, two = candidate("one", time), candidate("two", lambda: time.now + 1e6)
    run(one.attempt(), store.answer)
    time.now = 3.0
    run(two.attempt(), store.answer)
    time.now = 3.0 + DURATION_S - 0.1
    early = run(two.attempt(), store.answer)
    before = two.leads
    time.now = 3.0 + DURATION_S
    run(two.attempt(), store.answer)

    assert (RETRY_S, False, True, False) == (early, before, two.leads, one.leads)
    assert 1 == (store.lease and store.lease.spec.lease_transitions)


def test_a_holder_stops_before_anybody_may_begin(time: Time, store: Store) -> None:
    """Without a renewal it leads for 10 s from when it asked for the last one."""
    one = candidate("one", time)
    attempt = one.attempt()
    next(attempt)
    question = attempt.send("absent")
    time.now = 2.0  # the answer takes a while
    with pytest.raises(StopIteration):
        attempt.send(store.answer(question))
    left = one.remaining_s
    time.now = DEADLINE_S

    assert (8.0, False) == (left, one.leads)


def test_a_clean_stop_lets_the_next_one_lead_at_once(time: Time, store: Store) -> None:
    """The Lease has no holder, and who released it leads no more."""
    one, two = candidate("one", time), candidate("two", time)
    run(one.attempt(), store.answer)
    run(one.release(), store.answer)
    run(two.attempt(), store.answer)

    assert (False, True) == (one.leads, two.leads)


def test_who_does_not_lead_releases_nothing(time: Time, store: Store) -> None:
    """A clean stop of a replica that waits leaves the Lease to its holder."""
    one, two = candidate("one", time), candidate("two", time)
    run(one.attempt(), store.answer)
    run(two.attempt(), store.answer)
    run(two.release(), store.answer)

    assert (True, "one") == (one.leads, store.lease and store.lease.spec.holder_identity)


def test_a_holder_that_starts_again_in_its_pod_leads_at_once(time: Time, store: Store) -> None:
    """Its name is its own: the process before is no more."""
    run(candidate("one", time).attempt(), store.answer)
    again = candidate("one", time)
    run(again.attempt(), store.answer)

    assert again.leads


def test_leadership_survives_one_refused_renewal_and_not_an_outage(time: Time, store: Store) -> None:
    """And after the outage it is a new term, of whoever is first."""
    one = candidate("one", time)
    time.now += run(one.attempt(), store.answer)
    store.down = True
    time.now += run(one.attempt(), store.answer)
    store.down = False
    time.now += run(one.attempt(), store.answer)
    one_term = (one.leads, one.term)
    store.down = True
    for _ in range(5):
        time.now += run(one.attempt(), store.answer)
    out = one.leads
    store.down = False
    run(one.attempt(), store.answer)

    assert ((True, 1), False, (True, 2)) == (one_term, out, (one.leads, one.term))


def test_an_answer_that_was_lost_is_read_again(time: Time, store: Store) -> None:
    """A write that arrived without us knowing does not keep its writer out."""
    one = candidate("one", time)

    def lost(question: Question) -> Answer:
        answer = store.answer(question)
        return "failed" if isinstance(question, Write) else answer

    time.now += run(one.attempt(), lost)
    unsure = one.leads
    run(one.attempt(), store.answer)

    assert (False, True) == (unsure, one.leads)


class Machine:
    """A replica with a clock of its own, that may hang, stop cleanly, or be killed and restarted in its pod."""

    def __init__(self, name: str, world: Time, store: Store, chance: random.Random) -> None:
        self._name, self._world, self._store, self._chance = name, world, store, chance
        self._rate, self._offset = chance.uniform(0.9, 1.1), chance.uniform(-1e5, 1e5)
        self._next_at = 0.0
        self._asked: tuple[Attempt, Question] | None = None
        self.begin()

    def begin(self) -> None:
        self.election = candidate(self._name, lambda: self._offset + self._world.now * self._rate)

    def step(self) -> None:
        if self._world.now < self._next_at:
            return
        if self._asked is not None:
            attempt, question = self._asked
            answer = self._store.answer(question)
            self._go_on(attempt, "failed" if self._chance.random() < 0.02 else answer)
        elif (fate := self._chance.random()) < 0.004:
            self._next_at = self._world.now + self._chance.uniform(0, 30)
            if fate < 0.001:
                run(self.election.release(), self._store.answer)
            elif fate < 0.002:
                self.begin()
        else:
            self._go_on(self.election.attempt(), None)

    def _go_on(self, attempt: Attempt, answer: Answer | None) -> None:
        """To the next question, which takes a while to arrive, and its answer no time to come back."""
        try:
            question = next(attempt) if answer is None else attempt.send(answer)
        except StopIteration as stop:
            self._asked, self._next_at = None, self._world.now + float(stop.value) / self._rate
        else:
            self._asked, self._next_at = (attempt, question), self._world.now + self._chance.choice((0, 0.1, 0.5, 1.9))


@pytest.mark.parametrize("seed", range(20))
def test_at_most_one_leads_at_any_time(seed: int) -> None:
    """Two replicas for an hour, clocks apart and 10 % off, outages, slow and lost answers, stops and restarts.

    It is looked at each tenth of a second; while the API server answers there is nearly always a leader.
    """
    chance = random.Random(seed)
    world, store = Time(), Store()
    machines = [Machine(name, world, store, chance) for name in ("one", "two")]
    outage_until, leaders, answering = 0.0, [], 0
    for tick in range(36_000):
        world.now = tick / 10
        if chance.random() < 0.0005:
            outage_until = world.now + chance.uniform(1, 60)
        store.down = world.now < outage_until
        for machine in machines:
            machine.step()
        leaders.append(sum(machine.election.leads for machine in machines))
        answering += not store.down

    assert {0, 1} == set(leaders)
    assert sum(leaders) > 0.8 * answering
