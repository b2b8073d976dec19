"""Request bodies, read whole and bounded in size and time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pileus.aws.http import Headers
from pileus.base.errors import ServiceError
from pileus.operations.call import ClientGone

Receive = Callable[[], Awaitable[dict[str, Any]]]
"""ASGI's source of messages."""

MAX_BODY = 16 * 1024 * 1024
"""Bytes. The largest requests of the query and JSON services, with room; objects of S3 have a way of their own."""


class RequestEntityTooLarge(ServiceError):
    """More than ``MAX_BODY``."""

    code = "RequestEntityTooLarge"
    status = 413

    def __init__(self) -> None:
        super().__init__(f"The request body is larger than {MAX_BODY} bytes.")


class RequestTimeout(ServiceError):
    """The body did not come in time."""

    code = "RequestTimeout"

    def __init__(self) -> None:
        super().__init__(
            "Your socket connection to the server was not read from or written to within the timeout period."
        )


async def read(headers: Headers, receive: Receive, patience: float) -> bytes:
    """The whole body.

    Raises:
        RequestEntityTooLarge: it is, or says it is, too large.
        RequestTimeout: it took longer than ``patience`` seconds.
        ClientGone: the client left before its end.
    """
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 9 or int(length) > MAX_BODY:
        raise RequestEntityTooLarge
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGone
                part, more = message.get("body", b""), message.get("more_body", False)
                if not (body or more):
                    return part
                body += part
                if len(body) > MAX_BODY:
                    raise RequestEntityTooLarge
                if not more:
                    return bytes(body)
    except TimeoutError:
        raise RequestTimeout from None
