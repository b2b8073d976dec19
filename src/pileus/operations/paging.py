"""Pages of results. Tokens are sealed, so a client can't read or forge them, and hold no server state: they survive restarts."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from pileus.base.errors import ServiceError
from pileus.base.sealing import SealBroken
from pileus.operations.context import Context

T = TypeVar("T")


class InvalidPaginationToken(ServiceError):
    """The token is not one of ours, or was given for other parameters."""

    code = "InvalidPaginationToken"


class InvalidMaxResults(ServiceError):
    """MaxResults outside of the operation's bounds."""

    code = "InvalidParameterValue"


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of MaxResults, and how many come without it (None: all)."""

    least: int = 5
    most: int = 1000
    default: int | None = None


class _Position(msgspec.Struct, frozen=True, array_like=True):
    after: str
    digest: str


def _scope(context: Context) -> str:
    call = context.call
    return f"page/{call.service}/{call.operation}/{call.identity.account}/{call.region}"


def _digest(params: Mapping[str, Any]) -> str:
    asked = {name: value for name, value in params.items() if name not in {"NextToken", "MaxResults", "DryRun"}}
    return sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()[:16]


def paginate(
    context: Context, params: Mapping[str, Any], items: Sequence[T], page: Page, key: Callable[[T], str]
) -> tuple[Sequence[T], str | None]:
    """The items of the asked page and the token of the next one. Pages follow the order of keys, which are unique.

    Raises:
        InvalidMaxResults: MaxResults is out of bounds.
        InvalidPaginationToken: NextToken was not made by this operation for these parameters.
    """
    size = params.get("MaxResults")
    token = params.get("NextToken")
    if size is None and not token and page.default is None:
        return items, None
    if size is not None and not page.least <= size <= page.most:
        side = f"greater than {page.least}" if size < page.least else f"less than {page.most}"
        raise InvalidMaxResults(f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value {side}.")
    ordered = sorted(items, key=key)
    if token:
        after = _open(context, params, token)
        ordered = [item for item in ordered if key(item) > after]
    size = size or page.default or page.most
    if len(ordered) <= size:
        return ordered, None
    position = _Position(key(ordered[size - 1]), _digest(params))
    return ordered[:size], context.env.sealer.seal(msgspec.msgpack.encode(position), _scope(context))


def _open(context: Context, params: Mapping[str, Any], token: str) -> str:
    try:
        raw = context.env.sealer.open(token, _scope(context))
        position = msgspec.msgpack.decode(raw, type=_Position)
    except (SealBroken, msgspec.DecodeError) as error:
        raise InvalidPaginationToken("The specified pagination token is not valid or is expired.") from error
    if position.digest != _digest(params):
        raise InvalidPaginationToken("The specified pagination token was made for other parameters.")
    return position.after
