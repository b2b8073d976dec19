"""A request's body that is handed on while it arrives. Made by ``pileus.gateway.app``, read by the operation.

Nothing is received before the first byte is asked for, so a client that waits for ``100 Continue`` learns of a refusal first.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from pileus.aws.http import Headers
from pileus.aws.signing import BodyReader
from pileus.base.errors import ServiceError
from pileus.gateway.body import Receive, RequestTimeout
from pileus.operations.call import ClientGone

_DRAIN = 1 << 20
_DRAIN_PATIENCE = 5.0


class MissingContentLength(ServiceError):
    """A streamed body must say how long it is."""

    code = "MissingContentLength"
    status = 411

    def __init__(self) -> None:
        super().__init__("You must provide the Content-Length HTTP header.")


class IncompleteBody(ServiceError):
    """The body ended before, or went on after, the length that was declared."""

    code = "IncompleteBody"

    def __init__(self) -> None:
        super().__init__("You did not provide the number of bytes specified by the Content-Length HTTP header")


class IncomingBody:
    """Implements ``pileus.operations.call.Body`` over ASGI's messages and the signature's reader.

    Attributes:
        ended: whether everything was received, so that the connection can be used again.
    """

    def __init__(self, receive: Receive, reader: BodyReader, headers: Headers, patience: float) -> None:
        """``patience``: seconds to wait for more, each time. Raises MissingContentLength."""
        self._receive = receive
        self._reader = reader
        self._patience = patience
        self._trailers: Mapping[str, str] = {}
        self.length = _declared_length(headers)
        names = headers.get("x-amz-trailer", "").lower().split(",")
        self.announced: Sequence[str] = [name.strip() for name in names if name.strip()]
        self.ended = False
        self._begun = False
        self._expects = "expect" in headers

    @property
    def trailers(self) -> Mapping[str, str]:
        return self._trailers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        while not self.ended:
            data = self._reader.feed(await self._next())
            count += len(data)
            if count > self.length:
                raise IncompleteBody
            if data:
                yield data
        self._trailers = self._reader.finish()
        if count != self.length:
            raise IncompleteBody

    async def _next(self) -> bytes:
        self._begun = True
        try:
            async with asyncio.timeout(self._patience):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout from None
        if message["type"] != "http.request":
            raise ClientGone
        self.ended = not message.get("more_body", False)
        return message.get("body", b"")

    async def drain(self) -> None:
        """Receives what little is left of a refused body, so that the client is not cut off while it sends."""
        if self._expects and not self._begun:
            return  # a client that waits for "100 Continue" would begin to send only now
        try:
            async with asyncio.timeout(_DRAIN_PATIENCE):
                left = _DRAIN
                while left > 0 and not self.ended:
                    left -= len(await self._next())
        except (TimeoutError, RequestTimeout, ClientGone):
            return


def _declared_length(headers: Headers) -> int:
    text = headers.get("x-amz-decoded-content-length") or headers.get("content-length", "")
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise MissingContentLength
    return int(text)
