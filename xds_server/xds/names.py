"""A set of names that costs little when many clients ask for the same ones: a shared part and a small difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final
from weakref import WeakValueDictionary

_NONE: Final[frozenset[str]] = frozenset()
_DIFFERENCE: Final = 64


_interned: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()


def _intern(names: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(names)
    if not wanted:
        return _NONE
    known = _interned.setdefault(hash(wanted), wanted)
    return known if known == wanted else wanted


class Names:
    __slots__ = ("_added", "_dropped", "_shared")

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._shared = _intern(names)
        self._added: set[str] | frozenset[str] = _NONE
        self._dropped: set[str] | frozenset[str] = _NONE

    def __contains__(self, name: str) -> bool:
        return name in self._added or (name in self._shared and name not in self._dropped)

    def __len__(self) -> int:
        return len(self._shared) + len(self._added) - len(self._dropped)

    def __iter__(self) -> Iterator[str]:
        yield from self._shared.difference(self._dropped) if self._dropped else self._shared
        yield from self._added

    def update(self, names: Iterable[str]) -> None:
        added, dropped = set(self._added), set(self._dropped)
        for name in names:
            if name in self._shared:
                dropped.discard(name)
            else:
                added.add(name)
        self._settle(added, dropped)

    def difference_update(self, names: Iterable[str]) -> None:
        added, dropped = set(self._added), set(self._dropped)
        for name in names:
            added.discard(name)
            if name in self._shared:
                dropped.add(name)
        self._settle(added, dropped)

    def _settle(self, added: set[str], dropped: set[str]) -> None:
        """Share anew once the difference has grown with the set, so that each change costs little on average."""
        if len(added) + len(dropped) > _DIFFERENCE + len(self._shared) // 8:
            self._shared = _intern(self._shared.difference(dropped).union(added))
            added, dropped = set(), set()
        self._added, self._dropped = added or _NONE, dropped or _NONE
