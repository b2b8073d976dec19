"""A client that costs next to nothing: signed requests as bytes, sent over kept connections; answers are not parsed."""

import re
import socket
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\A[^\r]*HTTP/1\.0|\r\nconnection: *close", re.IGNORECASE)


class Endpoint(msgspec.Struct, frozen=True):
    """Where a server answers on this machine, and the key that signs for it."""

    port: int
    access_key: str
    secret_key: str

    def request(self, operation: str, parameters: Mapping[str, str | int] | None = None) -> bytes:
        """A whole HTTP request of EC2, signed now. It is good for some minutes."""
        host = f"127.0.0.1:{self.port}"
        body = urlencode({"Action": operation, "Version": "2016-11-15", **(parameters or {})})
        kind = "application/x-www-form-urlencoded; charset=utf-8"
        unsigned = AWSRequest("POST", f"http://{host}/", {"Content-Type": kind, "Host": host}, body)
        SigV4Auth(Credentials(self.access_key, self.secret_key), "ec2", REGION).add_auth(unsigned)
        fields = "".join(f"{name}: {value}\r\n" for name, value in unsigned.headers.items())
        return f"POST / HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Refused(Exception):
    """The server answered with another status than 200."""


class Connection:
    """One connection, opened at the first call and again when the server has closed it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._address = ("127.0.0.1", endpoint.port)
        self._socket: socket.socket | None = None
        self._buffer = bytearray(1 << 20)

    def call(self, request: bytes) -> bytes:
        """Sends a request and returns the answer's body. Raises Refused, and OSError when nobody answers."""
        start, end = self.perform(request)
        return bytes(self._buffer[start:end])

    def perform(self, request: bytes) -> tuple[int, int]:
        """The same, but the answer stays where it is: copying megabytes is no part of what is measured."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        received = self._read_until_head()
        head = bytes(self._buffer[: self._buffer.index(b"\r\n\r\n", 0, received)])
        length = _LENGTH.search(head)
        assert length is not None, head
        end = len(head) + 4 + int(length[1])
        if len(self._buffer) < end:
            self._buffer.extend(bytes(end - len(self._buffer)))
        received = self._read_to(received, end)
        if _CLOSES.search(head):
            self.close()
        if b" 200 " not in head[:16]:
            raise Refused(self._buffer[: min(end, 2000)].decode(errors="replace"))
        return len(head) + 4, end

    def close(self) -> None:
        """Closes the connection; the next call opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read_until_head(self) -> int:
        received = 0
        while self._buffer.find(b"\r\n\r\n", 0, received) < 0:
            received = self._read_more(received, len(self._buffer))
        return received

    def _read_to(self, received: int, end: int) -> int:
        while received < end:
            # In one call, without Python between: eight clients share its lock.
            received = self._read_more(received, end, socket.MSG_WAITALL)
        return received

    def _read_more(self, received: int, limit: int, flags: int = 0) -> int:
        assert self._socket is not None
        count = self._socket.recv_into(memoryview(self._buffer)[received:limit], 0, flags)
        if not count:
            self.close()
            raise ConnectionError("the server closed the connection")
        return received + count
