"""Whatever bytes a guest sends, in whatever pieces, it gets well-formed answers and nothing breaks."""

import asyncio
import itertools
from http import HTTPStatus

from hypothesis import given
from hypothesis import strategies as st

from pileus.agent.metadata.answers import Request, Response
from pileus.agent.metadata.connection import REQUEST_LIMIT, Connection

GOOD = b"GET /latest/meta-data/ HTTP/1.1\r\nHost: x\r\n\r\n"
pieces = st.lists(
    st.binary(max_size=60)
    | st.sampled_from(
        [
            *(
                GOOD,
                GOOD[:20],
                b"\r\n",
                b"\r\n\r\n",
                b"PUT / HTTP/1.1\r\n",
                b"Content-Length: 3\r\n",
                b"X: " + b"y" * 9000,
            ),
            *(
                b"Transfer-Encoding: chunked\r\n",
                b"0\r\n\r\n",
                b"Connection: close\r\n",
                b"Upgrade: h2c\r\n",
                b"HEAD /%",
            ),
        ]
    ),
    max_size=12,
)


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.4", 1)})
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "nothing is written after the end"
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


class Owner:
    """Answers everything with the same."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def admit(self, connection: Connection) -> bool:
        return True

    def answer(self, source: str, request: Request) -> Response:
        assert source == "10.0.0.4"
        self.requests.append(request)
        return Response(status=HTTPStatus.OK, body=b"!")

    def forget(self, connection: Connection) -> None: ...


def converse(*data: bytes) -> tuple[Transport, Owner]:
    async def feed() -> tuple[Transport, Owner]:
        transport, owner = Transport(), Owner()
        connection = Connection(owner)
        connection.connection_made(transport)
        for piece in data:
            if not transport.closed:
                connection.data_received(piece)
        connection.connection_lost(None)
        return transport, owner

    return asyncio.run(feed())


@given(pieces)
def test_any_bytes_get_well_formed_answers(data: list[bytes]) -> None:
    transport, owner = converse(*data)
    answers = transport.written.split(b"HTTP/1.1 ")
    assert answers[0] == b""
    assert all(answer[:3] in (b"200", b"400", b"431") for answer in answers[1:])
    assert len(owner.requests) <= len(answers) - 1
    if b"\r\n400 " in transport.written or b"HTTP/1.1 4" in transport.written:
        assert transport.closed


@given(st.data())
def test_the_pieces_make_no_difference(data: st.DataObject) -> None:
    stream = GOOD * 3
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    transport, owner = converse(*(stream[a:b] for a, b in itertools.pairwise(edges)))
    assert len(owner.requests) == 3
    assert not transport.closed
    assert {request.path for request in owner.requests} == {"/latest/meta-data/"}


def test_a_request_may_be_so_long_and_no_longer() -> None:
    def long(size: int) -> bytes:
        return GOOD.replace(b"Host: x", b"Host: " + b"x" * (size - len(GOOD) + 1))

    assert len(converse(long(REQUEST_LIMIT - 4096))[1].requests) == 1
    transport, owner = converse(long(REQUEST_LIMIT + 4097))
    assert transport.written.startswith(b"HTTP/1.1 431 ")
    assert not owner.requests


def test_what_is_percent_encoded_is_decoded_once() -> None:
    _, owner = converse(GOOD.replace(b"meta-data", b"tags%2Fa%2525b?x=%20"))
    assert owner.requests[0].path == "/latest/tags/a%25b"
