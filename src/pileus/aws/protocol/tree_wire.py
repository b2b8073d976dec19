"""What the protocols share whose bodies are one tree each way: JSON objects and CBOR maps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, ServiceModel, Shape
from pileus.aws.protocol.constraints import Constraints
from pileus.aws.protocol.errors import UnknownOperation
from pileus.aws.protocol.faults import Fault
from pileus.aws.protocol.tree_reader import Read, Tree, TreeReader
from pileus.aws.protocol.tree_writer import TreeWriter
from pileus.aws.protocol.wire import EMPTY, Parse, Serialise


class TreeWire(ABC):
    """One service; a protocol says how a body becomes a tree, and a tree an answer."""

    def __init__(
        self, model: ServiceModel, leaves: Mapping[str, Read], leaf: Callable[[Shape], Callable[[Any], Any]]
    ) -> None:
        self._model = model
        self._reader = TreeReader(model, leaves)
        self._writer = TreeWriter(model, leaf)
        self._constraints = Constraints(model, "ValidationException")

    @abstractmethod
    def _decode(self, body: bytes) -> Tree:
        """A request's body. Raises ``SerializationException``."""

    @abstractmethod
    def _response(self, status: int, tree: Any, request_id: str) -> HttpResponse:
        """An answer with this body."""

    def parser(self, operation: OperationModel) -> Parse:
        shape = self._model.shape(operation.input) if operation.input else EMPTY
        read, enforce = self._reader.compile(shape), self._constraints.compile(shape)

        def parse(request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
            params = read(self._decode(request.body))
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
