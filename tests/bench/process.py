"""Processes that are measured: started, told what to do, weighed, and ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).resolve().parents[2]
LONGEST_S = 180.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A subject of `subject.py`; ready when the constructor returns."""

    def __init__(self, *args: str | Path, core: int | None = None, wait: bool = True) -> None:
        self._args = " ".join(map(str, args))
        self.began = time.monotonic()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.subject", *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=PROJECT,
        )
        self.pid = self._process.pid
        pin(core, self.pid)
        if wait:
            self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        self.tell(do, **order)
        return self.answer()

    def tell(self, do: str, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], LONGEST_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{self._args}: no answer; {self._errors.read()[-2000:].decode()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def rss_kib(self) -> int:
        return rss_kib(self.pid)

    def peak_kib(self) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def rss_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE // 1024


def pin(core: int | None, pid: int = 0) -> None:
    """Servers on one core, and clients and Envoys on another, where there are two."""
    cores = sorted(os.sched_getaffinity(0) if pid == 0 else os.sched_getaffinity(os.getppid()))
    if core is not None and len(cores) > 1:
        os.sched_setaffinity(pid, {cores[core % len(cores)]})
