"""Turns results into the plain trees that JSON and CBOR encoders take."""

from collections.abc import Callable, Mapping
from operator import index
from typing import Any

from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol.fragment import Fragment
from pileus.aws.protocol.lazy import Compiled

Write = Callable[[Any], Any]


class TreeWriter:
    """Compiles writers for one service. ``leaf`` gives the writer of a single value's shape."""

    def __init__(self, model: ServiceModel, leaf: Callable[[Shape], Write]) -> None:
        self._model = model
        self._leaf = leaf
        self._structures: dict[str, Write] = {}

    def compile(self, shape: Shape) -> Write:
        """A writer for values of ``shape``."""
        match shape.type:
            case "structure":
                return _same if shape.document else self._structure(shape)
            case "list":
                assert shape.member
                item = _nullable(self.compile(self._model.shape(shape.member)))
                return lambda value: [item(element) for element in value]
            case "map":
                assert shape.value
                item = _nullable(self.compile(self._model.shape(shape.value)))
                return lambda value: {key: item(element) for key, element in value.items()}
            case _:
                return self._leaf(shape)

    def _structure(self, shape: Shape) -> Write:
        """One writer for all places where the shape is used, itself among them."""
        known = self._structures.get(shape.shape)
        if known is not None:
            return known

        def compile_member(name: str) -> tuple[str, Write]:
            ref = shape.members[name]
            return ref.location_name or name, self.compile(self._model.shape(ref))

        members = Compiled(compile_member)

        def write(value: Mapping[str, Any] | Fragment) -> dict[str, Any]:
            tree: dict[str, Any] = {}
            for name, item in (value.build() if isinstance(value, Fragment) else value).items():
                if item is not None:
                    wire, write_member = members[name]
                    tree[wire] = write_member(item)
            return tree

        self._structures[shape.shape] = write
        return write


def write_string(value: Any) -> str:
    """Strings only: a number in place of one is a mistake of the service."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no string")
    return value


def write_integer(value: Any) -> int:
    """Whole numbers only."""
    return int(index(value))


def _same(value: Any) -> Any:
    return value


def _nullable(write: Write) -> Write:
    return lambda value: None if value is None else write(value)
