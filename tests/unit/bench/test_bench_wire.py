"""The bench's client: whole answers however they arrive, connections kept or closed as the server says."""

import socket
import threading

import pytest
from bench.wire import Connection, Endpoint, Refused


def answer(body, status="200 OK", head=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n{body}".encode()


@pytest.fixture
def served():
    """Starts a server that gives each accepted connection these answers, in pieces, and notes the connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve(*rounds):
        def run():
            for answers in rounds:
                connection, _ = listener.accept()
                connections.append(connection)
                for pieces in answers:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)

        threading.Thread(target=run, daemon=True).start()
        return Connection(Endpoint(listener.getsockname()[1], "AKIA", "secret")), connections

    yield serve
    for connection in connections:
        connection.close()
    listener.close()


def test_an_answer_that_comes_in_pieces_and_one_larger_than_the_buffer(served):
    large = answer("x" * 3_000_000)
    small = answer("hello")
    client, connections = served([[small[:9], small[9:30], small[30:]], [large[:100], large[100:]], [small]])
    assert client.call(b"?") == b"hello"
    assert client.call(b"?") == b"x" * 3_000_000
    assert client.call(b"?") == b"hello"
    assert len(connections) == 1


def test_a_connection_that_the_server_closes_is_opened_again(served):
    client, connections = served([[answer("a", head="Connection: close\r\n")]], [[answer("b")]])
    assert [client.call(b"?"), client.call(b"?")] == [b"a", b"b"]
    assert len(connections) == 2


def test_an_error_is_raised_with_what_the_server_said(served):
    client, _ = served([[answer("<Code>Bad</Code>", "400 Bad Request")], [answer("fine")]])
    with pytest.raises(Refused, match="Bad"):
        client.call(b"?")
    assert client.call(b"?") == b"fine"


def test_requests_are_signed_and_say_how_long_they_are():
    text = Endpoint(80, "AKIA", "secret").request("DescribeInstances", {"InstanceId.1": "i-1"}).decode()
    head, _, body = text.partition("\r\n\r\n")
    assert head.startswith("POST / HTTP/1.1\r\n")
    assert "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/" in head
    assert f"Content-Length: {len(body)}" in head
    assert body == "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1"
