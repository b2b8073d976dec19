"""Reads decoded JSON and CBOR into the model's shapes. Members that the model doesn't have are ignored, as AWS does."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol import scalars
from pileus.aws.protocol.errors import SerializationException
from pileus.aws.protocol.lazy import Compiled

Tree = None | bool | int | float | str | bytes | datetime | list[Any] | dict[Any, Any]
"""What JSON and CBOR decode to."""

Read = Callable[[Tree], Any]

_TOKENS: dict[type, str] = {
    dict: "START_OBJECT",
    list: "START_ARRAY",
    str: "STRING_VALUE",
    int: "NUMBER_VALUE",
    float: "NUMBER_VALUE",
    bool: "BOOLEAN_VALUE",
    bytes: "BLOB_VALUE",
    datetime: "TIMESTAMP_VALUE",
    type(None): "NULL_VALUE",
}
_WANTED = {
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "a Boolean",
    "string": "a String",
    "timestamp": "a Timestamp",
    "blob": "a Blob",
}


def mismatch(value: Tree, wanted: str) -> SerializationException:
    """The error for a value of another type than the model's."""
    return SerializationException(f"{_TOKENS[value.__class__]} can not be converted to {wanted}")


class TreeReader:
    """Compiles readers for one service. ``leaves`` read single values by type name, raising ``ValueError`` or ``TypeError``."""

    def __init__(self, model: ServiceModel, leaves: Mapping[str, Read]) -> None:
        self._model = model
        self._leaves = leaves
        self._structures: dict[str, Read] = {}

    def compile(self, shape: Shape) -> Read:
        """A reader for values of ``shape``."""
        match shape.type:
            case "structure":
                return _same if shape.document else self._structure(shape)
            case "list":
                return self._list(shape)
            case "map":
                return self._map(shape)
            case _:
                return self._leaf(shape)

    def _structure(self, shape: Shape) -> Read:
        """One reader for all places where the shape is used, itself among them."""
        known = self._structures.get(shape.shape)
        if known is not None:
            return known
        names = {ref.location_name or name: name for name, ref in shape.members.items() if not ref.location}

        def compile_member(wire: str) -> tuple[str, Read]:
            name = names[wire]
            return name, self.compile(self._model.shape(shape.members[name]))

        members = Compiled(compile_member)

        def read(value: Tree) -> dict[str, Any]:
            if not isinstance(value, dict):
                raise mismatch(value, "a Structure")
            result: dict[str, Any] = {}
            for wire, item in value.items():
                if item is not None and wire in names:
                    name, read_member = members[wire]
                    result[name] = read_member(item)
            return result

        self._structures[shape.shape] = read
        return read

    def _list(self, shape: Shape) -> Read:
        assert shape.member
        read_item = _sparse(self.compile(self._model.shape(shape.member)), allowed=shape.sparse)

        def read(value: Tree) -> list[Any]:
            if not isinstance(value, list):
                raise mismatch(value, "a List")
            return [read_item(item) for item in value]

        return read

    def _map(self, shape: Shape) -> Read:
        assert shape.key and shape.value
        read_key = self.compile(self._model.shape(shape.key))
        read_value = _sparse(self.compile(self._model.shape(shape.value)), allowed=shape.sparse)

        def read(value: Tree) -> dict[Any, Any]:
            if not isinstance(value, dict):
                raise mismatch(value, "a Map")
            return {read_key(key): read_value(item) for key, item in value.items()}

        return read

    def _leaf(self, shape: Shape) -> Read:
        convert = self._leaves[shape.type]
        wanted = _WANTED.get(shape.type, "a value")

        def read(value: Tree) -> Any:
            try:
                return convert(value)
            except (ValueError, TypeError):
                raise mismatch(value, wanted) from None

        return read


def _same(value: Tree) -> Any:
    return value


def _sparse(read: Read, *, allowed: bool) -> Read:
    return (lambda value: None if value is None else read(value)) if allowed else read


def read_string(value: Tree) -> str:
    """Strings only: a number is not taken for one."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def read_number(value: Tree) -> float:
    """A number, or one of the texts that JSON needs for what it can't write."""
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return float(value)


def read_long(value: Tree, type_name: str = "long") -> int:
    """A whole number within the type's range."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return scalars.in_range(value, type_name)


def read_boolean(value: Tree) -> bool:
    """True or false, and nothing that merely resembles them."""
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


COMMON_LEAVES: Mapping[str, Read] = {
    "string": read_string,
    "character": read_string,
    "integer": lambda value: read_long(value, "integer"),
    "long": read_long,
    "float": read_number,
    "double": read_number,
    "boolean": read_boolean,
}
"""The readers that JSON and CBOR share."""
