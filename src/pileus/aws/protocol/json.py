"""The json protocol (versions 1.0 and 1.1), and the JSON bodies of rest-json."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from pileus.aws.http import HttpResponse
from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol import scalars
from pileus.aws.protocol.errors import SerializationException
from pileus.aws.protocol.tree_reader import COMMON_LEAVES, Read, Tree, read_number, read_string
from pileus.aws.protocol.tree_wire import TreeWire
from pileus.aws.protocol.tree_writer import write_integer, write_string


def decode(body: bytes) -> Tree:
    """A JSON document; no bytes at all are an empty object. Raises ``SerializationException``."""
    try:
        return msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SerializationException(f"The body is not JSON: {error}") from None


def _read_timestamp(value: Tree) -> datetime:
    return scalars.read_timestamp(value) if isinstance(value, str) else scalars.from_epoch(read_number(value))


def _read_blob(value: Tree) -> bytes:
    return scalars.read_blob(read_string(value))


JSON_LEAVES: Mapping[str, Read] = {**COMMON_LEAVES, "timestamp": _read_timestamp, "blob": _read_blob}
"""The readers of single values in JSON."""


def _write_number(value: float) -> float | str:
    value = float(value)
    text = scalars.write_float(value)
    return text if text[-1].isalpha() else value


_WRITERS: dict[str, Callable[[Any], Any]] = {
    "string": write_string,
    "character": write_string,
    "integer": write_integer,
    "long": write_integer,
    "float": _write_number,
    "double": _write_number,
    "boolean": bool,
    "blob": scalars.write_blob,
}


def json_leaf(shape: Shape) -> Callable[[Any], Any]:
    """The writer of a single value as JSON."""
    if shape.type != "timestamp":
        return _WRITERS[shape.type]
    form = (shape.timestamp_format or "unixtimestamp").lower()
    return scalars.epoch if form == "unixtimestamp" else scalars.TIMESTAMP_FORMATS[form]


class JsonWire(TreeWire):
    """``X-Amz-Target: Prefix.Operation`` and an object each way."""

    def __init__(self, model: ServiceModel) -> None:
        super().__init__(model, JSON_LEAVES, json_leaf)
        self._content_type = f"application/x-amz-json-{model.metadata.json_version}"

    def _decode(self, body: bytes) -> Tree:
        return decode(body)

    def _response(self, status: int, tree: Any, request_id: str) -> HttpResponse:
        headers = [("Content-Type", self._content_type), ("x-amzn-RequestId", request_id)]
        return HttpResponse(status, headers, msgspec.json.encode(tree))
