"""Maps as dictionaries, which tell each write, and may be full."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=tuple[Any, ...])
V = TypeVar("V", bound=tuple[Any, ...])


class Table(Generic[K, V]):
    def __init__(self, name: str, capacity: int = 1 << 20) -> None:
        self.name, self.capacity = name, capacity
        self.content: dict[K, V] = {}
        self.written: Callable[[], None] = lambda: None
        self.writes = self.puts = 0
        self.failing: set[int] = set()
        """Of all that are put, which ones fail."""

    def items(self) -> Iterable[tuple[K, V]]:
        return list(self.content.items())

    def get(self, key: K) -> V | None:
        return self.content.get(key)

    def put_all(self, entries: Iterable[tuple[K, V]]) -> None:
        for key, value in entries:
            self.puts += 1
            if self.puts in self.failing:
                raise OSError(errno.ENOMEM, "Cannot allocate memory")
            if key not in self.content and len(self.content) >= self.capacity:
                raise OSError(errno.E2BIG, "Argument list too long")
            self.content[key] = value
            self.writes += 1
            self.written()

    def delete_all(self, keys: Iterable[K]) -> None:
        for key in keys:
            self.content.pop(key, None)
            self.writes += 1
            self.written()
