"""Parts of an answer that are serialised once and reused while they stay the same."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any


class Fragment:
    """A structure in a result whose XML can be kept.

    It may stand wherever a result has a structure. ``key`` must change whenever ``build`` would give something else; it
    is compared among fragments of the same shape only. JSON and CBOR answers call ``build`` every time.
    """

    __slots__ = ("build", "key")

    def __init__(self, key: Hashable, build: Callable[[], Mapping[str, Any]]) -> None:
        self.key = key
        self.build = build


class FragmentCache:
    """The least recently used texts go first when their total length passes ``limit`` characters."""

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self._limit = limit
        self._texts: OrderedDict[tuple[object, Hashable], str] = OrderedDict()
        self._size = 0

    def render(self, fragment: Fragment, writer: Callable[[Any], str]) -> str:
        """The fragment's text as ``writer`` puts it, from the cache or made now."""
        key = (writer, fragment.key)
        text = self._texts.get(key)
        if text is not None:
            self._texts.move_to_end(key)
            return text
        text = writer(fragment.build())
        # build() may itself have rendered this very fragment.
        if key not in self._texts:
            self._texts[key] = text
            self._size += len(text)
        while self._size > self._limit:
            self._size -= len(self._texts.popitem(last=False)[1])
        return text


fragments = FragmentCache()
"""Shared by all operations of the process."""
