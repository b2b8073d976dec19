"""Smithy's RPC v2 CBOR: ``POST /service/<name>/operation/<name>`` with a CBOR map each way."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, ServiceModel, Shape
from pileus.aws.protocol import cbor, scalars
from pileus.aws.protocol.constraints import Constraints
from pileus.aws.protocol.errors import SerializationException, UnknownOperation
from pileus.aws.protocol.faults import Fault
from pileus.aws.protocol.tree_reader import COMMON_LEAVES, Read, Tree, TreeReader, read_number
from pileus.aws.protocol.tree_writer import TreeWriter, write_integer, write_string
from pileus.aws.protocol.wire import EMPTY, Parse, Serialise


def _read_timestamp(value: Tree) -> datetime:
    return value if isinstance(value, datetime) else scalars.from_epoch(read_number(value))


def _read_blob(value: Tree) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(value)
    return value


_LEAVES: Mapping[str, Read] = {**COMMON_LEAVES, "timestamp": _read_timestamp, "blob": _read_blob}

_WRITERS: dict[str, Callable[[Any], Any]] = {
    "string": write_string,
    "character": write_string,
    "integer": write_integer,
    "long": write_integer,
    "float": float,
    "double": float,
    "boolean": bool,
    "blob": bytes,
    "timestamp": lambda value: value,
}


def _leaf(shape: Shape) -> Callable[[Any], Any]:
    return _WRITERS[shape.type]


class RpcCborWire:
    """One service over RPC v2 CBOR."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._reader = TreeReader(model, _LEAVES)
        self._writer = TreeWriter(model, _leaf)
        self._constraints = Constraints(model, "ValidationException")

    def parser(self, operation: OperationModel) -> Parse:
        shape = self._model.shape(operation.input) if operation.input else EMPTY
        read, enforce = self._reader.compile(shape), self._constraints.compile(shape)

        def parse(request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
            try:
                tree: Tree = cbor.decode(request.body) if request.body else {}
            except ValueError as error:
                raise SerializationException(f"The body is not CBOR: {error}") from None
            params = read(tree)
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
        headers = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        headers.append(("x-amzn-RequestId", request_id))
        return HttpResponse(status, headers, cbor.encode(tree))
