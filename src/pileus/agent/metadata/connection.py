"""One HTTP connection of a guest to the metadata service: parsing, limits, writing. Guests are not trusted."""

import asyncio
import logging
import socket
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import unquote

import httptools

from pileus.agent.metadata.answers import Request, Response, refuse

log = logging.getLogger(__name__)

_SLICE = 4 << 10  # bytes parsed before the limits are looked at again
REQUEST_LIMIT = 16 << 10  # bytes of a whole request: line, headers and a body that nobody reads
UNSENT_LIMIT = 1 << 20  # bytes that a guest may leave unread before it is cut off
REQUEST_WITHIN = 20.0  # seconds for a request to arrive whole, from the last answer on


class Owner(Protocol):
    """Who accepted the connection."""

    def admit(self, connection: "Connection") -> bool:
        """Whether the connection, whose source is known now, may stay."""
        ...

    def answer(self, source: str, request: Request) -> Response:
        """The answer to a request that came from an address."""
        ...

    def forget(self, connection: "Connection") -> None:
        """The connection has ended; said once for each that was shown to ``admit``."""
        ...


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 with keep-alive, answering in order."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self._received = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self.source = ""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, but is no subclass
        self.source = (transport.get_extra_info("peername") or ("",))[0]
        self._wait_for_request()
        if not self._owner.admit(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for start in range(0, len(data), _SLICE):
                piece = data[start : start + _SLICE]
                self._received += len(piece)
                self._parser.feed_data(piece)
                if self._received > REQUEST_LIMIT:
                    self._end_with(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                if self._transport.is_closing():
                    return
        except httptools.HttpParserUpgrade:
            pass  # the request was answered as if it had not asked for another protocol, and the connection is closing
        except httptools.HttpParserError:
            self._end_with(HTTPStatus.BAD_REQUEST)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._owner.forget(self)

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    # The parser's side

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_message_complete(self) -> None:
        self._received = 0
        if self._transport.is_closing():
            return
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        method = self._parser.get_method().decode("latin-1")
        self._write(self._respond(method), keep_alive=keep_alive, with_body=method != "HEAD")
        if self._transport.get_write_buffer_size() > UNSENT_LIMIT:
            self._transport.abort()
        elif keep_alive:
            self._wait_for_request()

    def _respond(self, method: str) -> Response:
        try:
            path: bytes | None = httptools.parse_url(self._url).path
        except httptools.HttpParserInvalidURLError:
            return refuse(HTTPStatus.BAD_REQUEST)
        request = Request(method=method, path=unquote((path or b"/").decode("latin-1")), headers=self._headers)
        try:
            return self._owner.answer(self.source, request)
        except Exception:
            log.exception("a metadata request could not be answered", extra={"source": self.source})
            return refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _write(self, response: Response, *, keep_alive: bool, with_body: bool = True) -> None:
        if response.hop_limit is not None:
            # Stays for the rest of the connection: whoever is too far away for the token must not get it by a
            # retransmission either.
            peer: Any = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, response.hop_limit)
        head = [
            f"HTTP/1.1 {response.status.value} {response.status.phrase}",
            f"Content-Type: {response.content_type}",
            f"Content-Length: {len(response.body)}",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
            "Server: EC2ws",
            *(f"{name}: {value}" for name, value in response.headers),
        ]
        self._transport.write("\r\n".join(head).encode() + b"\r\n\r\n" + (response.body if with_body else b""))
        if not keep_alive:
            self._transport.close()

    def _end_with(self, status: HTTPStatus) -> None:
        if not self._transport.is_closing():
            self._write(refuse(status), keep_alive=False)

    def _wait_for_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(REQUEST_WITHIN, self._transport.abort)
