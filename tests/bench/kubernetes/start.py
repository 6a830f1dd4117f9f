"""B1 and B7: the cold start on an API server that has all objects, and what the control plane then weighs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench import world
from tests.bench.cold_start import Start, start
from tests.bench.kubernetes.stand import NUMBER, Stand, settle
from tests.bench.measures import Figure, interval, ratio, say, seconds

MOST_PER_ROUTE_KIB = 80


class Starts:
    """Those of worlds that grow."""

    def __init__(self, stand: Stand, directory: Path, rounds: int) -> None:
        self._stand, self._directory, self._rounds = stand, directory, rounds
        self._served: dict[int, list[float]] = {}
        self._cpu: dict[int, list[float]] = {}
        self._rss_kib: dict[int, int] = {}

    def measure(self, most: float | None) -> Iterator[Figure]:
        """Start on what there is; statuses are written before, so that starts have nothing to write."""
        count, tape = self._stand.count, self._directory / f"{self._stand.count}.tape"
        say(f"B1: {count} routes")
        with self._stand.plane(self._directory) as plane:
            say(f"statuses written: {settle(plane)}")
            self._rss_kib[count] = plane.process.rss_kib()
            plane.recording(tape, world.address(NUMBER + 1))
        ours: list[Start] = []
        limit: list[Start] = []
        for round_ in range(self._rounds):
            say(f"B1: {count} routes, round {round_ + 1}")
            ours.append(self._ours())
            limit.append(self._limit(tape))
            limit.append(self._limit(tape))
            ours.append(self._ours())
        self._served[count] = [each.served_s for each in ours]
        self._cpu[count] = [each.cpu_s for each in ours]
        served = self._served[count], [each.served_s for each in limit]
        steps = ", ".join(f"{name} {median(each.marks[name] for each in ours):.2f} s" for name in ours[0].marks)
        yield Figure(
            "B1",
            f"{count} routes, from exec until all are served",
            seconds(served[0]),
            seconds(served[1]),
            ratio(*served),
            most,
            f"ratio in {interval(*served)}; {steps}; CPU {seconds(self._cpu[count])} "
            f"against {seconds([each.cpu_s for each in limit])}",
        )

    def growth(self, many: int, few: int, most: float | None) -> Iterator[Figure]:
        """A world against a smaller one."""
        pair = self._served[many], self._served[few]
        cpu = ratio(self._cpu[many], self._cpu[few])
        what = f"{many} routes against {few}"
        yield Figure("B1", what, seconds(pair[0]), seconds(pair[1]), ratio(*pair), most, f"CPU {cpu:.2f} times")

    def weight(self, many: int, few: int) -> Iterator[Figure]:
        slope = (self._rss_kib[many] - self._rss_kib[few]) / (many - few)
        yield Figure(
            "B7",
            f"a route with its Service and EndpointSlice, {few} to {many} routes",
            f"{slope:.1f} KiB",
            f"{MOST_PER_ROUTE_KIB} KiB",
            slope / MOST_PER_ROUTE_KIB,
            1.0,
            f"RSS {self._rss_kib[few] // 1024} MiB with {few} routes, {self._rss_kib[many] // 1024} with {many}, "
            "after all statuses were written",
        )

    def _ours(self) -> Start:
        kubeconfig = self._stand.cluster.kubeconfig_outside
        return start(self._directory, "cluster", kubeconfig, NUMBER, self._stand.count)

    def _limit(self, tape: Path) -> Start:
        return start(self._directory, "replay", tape, NUMBER + 1, self._stand.count)
