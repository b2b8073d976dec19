"""Smithy's RPC v2 CBOR: ``POST /service/<name>/operation/<name>`` with a CBOR map each way."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pileus.aws.http import HttpResponse
from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol import cbor, scalars
from pileus.aws.protocol.errors import SerializationException
from pileus.aws.protocol.tree_reader import COMMON_LEAVES, Read, Tree, read_number
from pileus.aws.protocol.tree_wire import TreeWire
from pileus.aws.protocol.tree_writer import write_integer, write_string


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


class RpcCborWire(TreeWire):
    """One service over RPC v2 CBOR."""

    def __init__(self, model: ServiceModel) -> None:
        super().__init__(model, _LEAVES, _leaf)

    def _decode(self, body: bytes) -> Tree:
        try:
            return cbor.decode(body) if body else {}
        except ValueError as error:
            raise SerializationException(f"The body is not CBOR: {error}") from None

    def _response(self, status: int, tree: Any, request_id: str) -> HttpResponse:
        headers = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        headers.append(("x-amzn-RequestId", request_id))
        return HttpResponse(status, headers, cbor.encode(tree))
