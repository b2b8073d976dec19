"""A service in one of its protocols, with its operations compiled as they are first called."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, ServiceModel, load_model
from pileus.aws.protocol.errors import NestedTooDeeply, UnknownOperation
from pileus.aws.protocol.faults import Faults
from pileus.aws.protocol.json import JsonWire
from pileus.aws.protocol.lazy import Compiled
from pileus.aws.protocol.query import Ec2Wire, QueryWire
from pileus.aws.protocol.rest import RestJsonWire, RestXmlWire
from pileus.aws.protocol.rpc_cbor import RpcCborWire
from pileus.aws.protocol.wire import Parse, Serialise, Wire

WIRES: Mapping[str, Callable[[ServiceModel], Wire]] = {
    "ec2": Ec2Wire,
    "query": QueryWire,
    "json": JsonWire,
    "rest-json": RestJsonWire,
    "rest-xml": RestXmlWire,
    "smithy-rpc-v2-cbor": RpcCborWire,
}
"""By botocore's name of the protocol."""


class InputMember(msgspec.Struct, frozen=True):
    """What is known of one parameter of an operation.

    Attributes:
        type: botocore's type name, e.g. ``string``, ``list``, ``structure``.
        idempotency_token: the client makes it up to repeat a call safely; never filled in here.
        enum: the values the model knows; empty where it knows none.
    """

    type: str
    required: bool
    idempotency_token: bool = False
    enum: tuple[str, ...] = ()


class Operation:
    """One operation of a service in one protocol.

    Attributes:
        input_members: by name, in the model's order.
        serialise: a result in botocore's shape and the request id to the answer. Members that are None are left out.
            Raises ``KeyError`` for a member that the model doesn't have, ``TypeError`` or ``ValueError`` for a value of
            another type: programming errors of a service.
    """

    __slots__ = ("_parse", "input_members", "name", "serialise")

    def __init__(self, name: str, input_members: Mapping[str, InputMember], parse: Parse, serialise: Serialise) -> None:
        self.name = name
        self.input_members = input_members
        self._parse = parse
        self.serialise = serialise

    def parse(self, request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
        """The parameters in botocore's shapes: aware datetimes, bytes, lists, dictionaries; absent members are absent.

        Raises ``ServiceError`` and nothing else, whatever it is given. ``path_params`` are those of ``routing.route``.
        """
        try:
            return self._parse(request, path_params)
        except RecursionError:
            raise NestedTooDeeply from None


class Service:
    """One service in one of its protocols.

    Attributes:
        name: botocore's name, e.g. ``service-quotas``. protocol: botocore's name of the protocol, e.g. ``json``.
        protocols: all that the model lists. signing_name: the service in a credential scope.
        target_prefix: what precedes the operation in ``X-Amz-Target``; empty for other protocols.
        operations: the names of all operations of the model.
    """

    def __init__(self, model: ServiceModel, protocol: str) -> None:
        metadata = model.metadata
        self.name = model.name
        self.protocol = protocol
        self.protocols = tuple(metadata.protocols or [metadata.protocol])
        self.api_version = metadata.api_version
        self.signing_name = metadata.signing_name or metadata.endpoint_prefix
        self.xml_namespace = metadata.xml_namespace
        self.target_prefix = metadata.target_prefix
        self.operations = model.operation_names
        self._model = model
        self._wire = WIRES[protocol](model)
        self._faults = Faults(model)
        self._compiled = Compiled(self._compile)

    def operation(self, name: str) -> Operation:
        """An operation, compiled at its first call. Raises ``KeyError`` for names not in ``operations``."""
        return self._compiled[name]

    def unknown_operation(self, name: str) -> UnknownOperation:
        """The error for a name not in ``operations``, with the code and the words of the protocol."""
        return self._wire.unknown_operation(name)

    def serialise_error(
        self, code: str, message: str, status: int, request_id: str, fields: Mapping[str, Any] | None = None
    ) -> HttpResponse:
        """An error answer.

        ``code`` is the name of a modelled exception, its code in the query protocols, or any other code. ``fields`` are
        further members of the modelled exception.
        """
        return self._wire.error(self._faults.find(code, message, status, fields or {}), request_id)

    def _compile(self, name: str) -> Operation:
        operation = self._model.operation(name)
        return Operation(
            name, self._input_members(operation), self._wire.parser(operation), self._wire.serialiser(operation)
        )

    def _input_members(self, operation: OperationModel) -> dict[str, InputMember]:
        if operation.input is None:
            return {}
        shape = self._model.shape(operation.input)
        members: dict[str, InputMember] = {}
        for name, ref in shape.members.items():
            member = self._model.shape(ref)
            token, enum = bool(member.idempotency_token), tuple(member.enum or ())
            members[name] = InputMember(member.type, name in shape.required, token, enum)
        return members


@cache
def load_service(name: str, protocol: str | None = None) -> Service:
    """A service by botocore's name for it, in the protocol its model prefers or in another one that it lists.

    Raises:
        LookupError: there is no such service, or it doesn't have the protocol.
    """
    model = load_model(name)
    if protocol is None:
        protocol = model.metadata.protocol
    elif protocol not in (model.metadata.protocol, *model.metadata.protocols):
        raise LookupError(f"{name} does not speak {protocol}")
    # The default and the explicit form are one object, so that what is compiled is compiled once.
    return _service(name, protocol)


@cache
def _service(name: str, protocol: str) -> Service:
    return Service(load_model(name), protocol)
