"""The json protocol (versions 1.0 and 1.1), and the JSON bodies of rest-json."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, ServiceModel, Shape
from pileus.aws.protocol import scalars
from pileus.aws.protocol.constraints import Constraints
from pileus.aws.protocol.errors import SerializationException, UnknownOperation
from pileus.aws.protocol.faults import Fault
from pileus.aws.protocol.tree_reader import COMMON_LEAVES, Read, Tree, TreeReader, read_number, read_string
from pileus.aws.protocol.tree_writer import TreeWriter, write_integer, write_string
from pileus.aws.protocol.wire import EMPTY, Parse, Serialise


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


class JsonWire:
    """``X-Amz-Target: Prefix.Operation`` and an object each way."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._content_type = f"application/x-amz-json-{model.metadata.json_version}"
        self._reader = TreeReader(model, JSON_LEAVES)
        self._writer = TreeWriter(model, json_leaf)
        self._constraints = Constraints(model, "ValidationException")

    def parser(self, operation: OperationModel) -> Parse:
        shape = self._model.shape(operation.input) if operation.input else EMPTY
        read, enforce = self._reader.compile(shape), self._constraints.compile(shape)

        def parse(request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
            params = read(decode(request.body))
            enforce(params)
            return params

        return parse

    def serialiser(self, operation: OperationModel) -> Serialise:
        write = self._writer.compile(self._model.shape(operation.output) if operation.output else EMPTY)
        return lambda result, request_id: self._response(200, write(result), request_id)

    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        members = self._writer.compile(fault.shape)(fault.members) if fault.shape else dict(fault.members)
        response = self._response(fault.status, {"__type": fault.name, **members}, request_id)
        if self._model.metadata.aws_query_compatible is not None:
            response.headers.append(("x-amzn-query-error", f"{fault.code};{fault.type}"))
        return response

    def unknown_operation(self, name: str) -> UnknownOperation:
        return UnknownOperation(f"The operation {name} is not known", code="UnknownOperationException", status=404)

    def _response(self, status: int, tree: Any, request_id: str) -> HttpResponse:
        headers = [("Content-Type", self._content_type), ("x-amzn-RequestId", request_id)]
        return HttpResponse(status, headers, msgspec.json.encode(tree))
