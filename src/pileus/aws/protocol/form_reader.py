"""Reads the parameter trees of the query and ec2 protocols into the model's shapes."""

from collections.abc import Callable
from typing import Any

from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol import scalars
from pileus.aws.protocol.errors import InvalidParameterValue, MalformedInput, MissingParameter, UnknownParameter
from pileus.aws.protocol.form import Node, numbered
from pileus.aws.protocol.lazy import Compiled
from pileus.base.errors import ServiceError

Read = Callable[[Node, str], Any]
"""A node of the tree and its full name to the value. Raises ``ServiceError``."""

# Not parameters of any operation: the call itself and old signatures (SigV2, presigned SigV4).
ENVELOPE = frozenset(
    {"Action", "Version", "AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp", "Expires"}
    | {"SecurityToken", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"}
    | {"X-Amz-SignedHeaders", "X-Amz-Security-Token"}
)


class QueryReader:
    """Compiles readers for the query protocol. Unknown parameters are ignored, absent ones left to the constraints."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._structures: dict[str, Read] = {}

    def compile(self, shape: Shape) -> Read:
        """A reader for values of ``shape``."""
        match shape.type:
            case "structure":
                return self._structure(shape)
            case "list":
                return self._list(shape)
            case "map":
                return self._map(shape)
            case _:
                return self._scalar(shape)

    def _structure(self, shape: Shape) -> Read:
        """One reader for all places where the shape is used, itself among them."""
        known = self._structures.get(shape.shape)
        if known is not None:
            return known
        names = {self._wire_name(self._model.shape(ref), name): name for name, ref in shape.members.items()}
        required = [wire for wire, name in names.items() if name in shape.required]

        def compile_member(wire: str) -> tuple[str, Read]:
            name = names[wire]
            return name, self.compile(self._model.shape(shape.members[name]))

        members = Compiled(compile_member)

        def read(node: Node, path: str) -> dict[str, Any]:
            if isinstance(node, str):
                raise self._invalid(path, node, "a structure")
            result: dict[str, Any] = {}
            for wire, child in node.items():
                full_name = f"{path}.{wire}" if path else wire
                if wire in names:
                    name, read_member = members[wire]
                    result[name] = read_member(child, full_name)
                elif path or wire not in ENVELOPE:
                    self._unknown(full_name)
            for wire in required:
                if wire not in node:
                    self._missing(f"{path}.{wire}" if path else wire)
            return result

        self._structures[shape.shape] = read
        return read

    def _list(self, shape: Shape) -> Read:
        assert shape.member
        member = self._model.shape(shape.member)
        prefix = "" if shape.flattened else member.location_name or "member"
        return self._numbered_list(self.compile(member), prefix)

    def _numbered_list(self, read_item: Read, prefix: str) -> Read:
        """A list of ``Name.1``, or of ``Name.<prefix>.1``. A blank value is an empty list."""

        def read(node: Node, path: str) -> list[Any]:
            if prefix and isinstance(node, dict):
                for wire in node:
                    if wire != prefix:
                        self._unknown(f"{path}.{wire}")
                node, path = node.get(prefix, ""), f"{path}.{prefix}"
            if node == "":
                return []
            entries = numbered(node) if isinstance(node, dict) else None
            if entries is None:
                raise self._not_a_list(path, node)
            return [read_item(item, f"{path}.{index}") for index, item in entries]

        return read

    def _map(self, shape: Shape) -> Read:
        assert shape.key and shape.value
        key, value = self._model.shape(shape.key), self._model.shape(shape.value)
        key_name, value_name = key.location_name or "key", value.location_name or "value"
        read_key, read_value = self.compile(key), self.compile(value)

        def read_pair(node: Node, path: str) -> tuple[Any, Any]:
            if isinstance(node, str) or key_name not in node or value_name not in node:
                raise self._invalid(path, "", f"a pair of {key_name} and {value_name}")
            return (
                read_key(node[key_name], f"{path}.{key_name}"),
                read_value(node[value_name], f"{path}.{value_name}"),
            )

        read_pairs = self._numbered_list(read_pair, "" if shape.flattened else "entry")
        return lambda node, path: dict(read_pairs(node, path))

    def _scalar(self, shape: Shape) -> Read:
        convert = scalars.READERS[shape.type]
        expected = scalars.EXPECTED.get(shape.type, "text")

        def read(node: Node, path: str) -> Any:
            if isinstance(node, dict):
                raise self._has_no_members(path, node)
            try:
                return convert(node)
            except ValueError:
                raise self._invalid(path, node, expected) from None

        return read

    # What the ec2 protocol does otherwise.

    def _wire_name(self, shape: Shape, name: str) -> str:
        if shape.type == "list" and shape.flattened:
            assert shape.member
            return self._model.shape(shape.member).location_name or shape.location_name or name
        return shape.location_name or name

    def _invalid(self, path: str, value: Node, expected: str) -> ServiceError:
        return MalformedInput(f"Invalid value {_shown(value)} for {path}: it must be {expected}")

    def _not_a_list(self, path: str, node: Node) -> ServiceError:
        return self._invalid(path, node, "a list numbered from 1")

    def _has_no_members(self, path: str, node: dict[str, Any]) -> ServiceError:
        return self._invalid(path, node, "a single value")

    def _unknown(self, path: str) -> None:
        """The query protocol's services ignore what they don't know."""

    def _missing(self, path: str) -> None:
        """Reported by the constraints, together with whatever else is wrong."""


class Ec2Reader(QueryReader):
    """Compiles readers for the ec2 protocol: other names, flattened lists, and strict about what it is given."""

    def _wire_name(self, shape: Shape, name: str) -> str:
        if shape.query_name:
            return shape.query_name
        if shape.location_name:
            return shape.location_name[0].upper() + shape.location_name[1:]
        return name

    def _list(self, shape: Shape) -> Read:
        assert shape.member
        return self._numbered_list(self.compile(self._model.shape(shape.member)), "")

    def _invalid(self, path: str, value: Node, expected: str) -> ServiceError:
        return InvalidParameterValue(path, _shown(value), expected)

    def _not_a_list(self, path: str, node: Node) -> ServiceError:
        if isinstance(node, dict):
            return UnknownParameter(f"{path}.{next(iter(node))}")
        return super()._not_a_list(path, node)

    def _has_no_members(self, path: str, node: dict[str, Any]) -> ServiceError:
        return UnknownParameter(f"{path}.{next(iter(node))}")

    def _unknown(self, path: str) -> None:
        raise UnknownParameter(path)

    def _missing(self, path: str) -> None:
        raise MissingParameter(path)


def _shown(value: Node) -> str:
    """A value as it may stand in a message: a client's own text, but not megabytes of it."""
    return value[:200] if isinstance(value, str) else "(structure)"
