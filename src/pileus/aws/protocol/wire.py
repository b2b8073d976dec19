"""What a protocol must offer; one implementation a protocol, listed in ``pileus.aws.protocol.service``."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, Shape
from pileus.aws.protocol.errors import UnknownOperation
from pileus.aws.protocol.faults import Fault

EMPTY = Shape()
"""Stands for the input or output of operations that have none."""

Parse = Callable[[HttpRequest, Mapping[str, str]], dict[str, Any]]
"""A request and its path parameters to the parameters. Raises ``ServiceError``."""

Serialise = Callable[[Mapping[str, Any], str], HttpResponse]
"""A result and the request id to the answer. Raises ``KeyError`` for members that the model doesn't have."""


class Wire(Protocol):
    """One protocol for one service."""

    def parser(self, operation: OperationModel) -> Parse:
        """Compiles what reads requests."""
        ...

    def serialiser(self, operation: OperationModel) -> Serialise:
        """Compiles what writes answers."""
        ...

    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        """An error answer."""
        ...

    def unknown_operation(self, name: str) -> UnknownOperation:
        """What a client is told who asks for an operation that doesn't exist."""
        ...
