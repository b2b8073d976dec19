"""Answers that are made while they are sent. Called by ``pileus.gateway.app``."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pileus.gateway.body import Receive

_log = logging.getLogger(__name__)


async def send_stream(
    stream: AsyncIterator[bytes], receive: Receive, send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Sends what comes, as fast as the client takes it, and stops when the client is gone. Closes the stream.

    An error in the middle can't be told any more, the status is out: the connection is cut, so that the client sees it.
    """
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        async for piece in stream:
            if gone.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except Exception:
        _log.exception("an answer broke off")
        raise
    finally:
        gone.cancel()
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
