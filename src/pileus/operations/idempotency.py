"""ClientToken: a repeated call gets the first one's answer, and changes nothing."""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import msgspec

from pileus.operations.call import Call
from pileus.operations.context import Context
from pileus.operations.errors import IdempotentParameterMismatch, InvalidClientToken
from pileus.operations.registry import Operation
from pileus.records.idempotency import IdempotentCall

KEPT = timedelta(hours=24)
"""How long a token is remembered."""

_MAX_TOKEN = 64


def _name(call: Call, token: str) -> str:
    return f"{call.identity.account}/{call.region}/{call.service}/{call.operation}/{token}"


def _digest(params: Mapping[str, Any]) -> str:
    return sha256(msgspec.json.encode(params, order="sorted")).hexdigest()


def perform_once(operation: Operation, context: Context) -> Mapping[str, Any]:
    """Runs a writing operation, or answers a repetition from what was kept in the same transaction as its effect.

    Raises:
        InvalidClientToken: the token is too long, or not ASCII.
        IdempotentParameterMismatch: the token came before, with other parameters.
    """
    params = context.call.params
    token = params.get("ClientToken") if operation.idempotent else None
    if not token:
        return operation.handler(context, params)
    if len(token) > _MAX_TOKEN or not token.isascii():
        raise InvalidClientToken(f"The client token must have up to {_MAX_TOKEN} ASCII characters.")
    name, digest = _name(context.call, token), _digest(params)
    known = context.tx.get(IdempotentCall, name)
    if known is not None:
        if known.digest != digest:
            raise IdempotentParameterMismatch(
                f"Arguments on this idempotent request are inconsistent with arguments used in previous request(s) "
                f"for the client token '{token}'"
            )
        return msgspec.msgpack.decode(known.result)
    result = operation.handler(context, params)
    context.tx.put(
        IdempotentCall(
            id=name,
            account=context.account,
            region=context.region,
            digest=digest,
            result=msgspec.msgpack.encode(result),
            at=context.now,
        )
    )
    return result
