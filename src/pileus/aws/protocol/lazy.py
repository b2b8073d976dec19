"""A table of compiled members, filled as they are first met.

Most requests use a few members of a shape. Compiling only those keeps the start quick and the memory small.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Compiled(dict[str, T], Generic[T]):
    """Maps a name to what ``compile_member(name)`` gave for it. What raises is not kept."""

    __slots__ = ("_compile",)

    def __init__(self, compile_member: Callable[[str], T]) -> None:
        super().__init__()
        self._compile = compile_member

    def __missing__(self, name: str) -> T:
        member = self[name] = self._compile(name)
        return member
