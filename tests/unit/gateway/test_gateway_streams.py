"""Bodies and answers that stream through the gateway, and requests that nobody signed."""

import pytest
from gateway_requests import ask, signed_object

from pileus.base.errors import ServiceError
from pileus.operations.call import Reply

STREAMS = frozenset({("s3", "PutObject")})


class Reader:
    """A dispatch table that reads the body of each call."""

    def __init__(self, result=None):
        self.calls = []
        self.bodies = []
        self.result = result or {}

    async def __call__(self, call):
        self.calls.append(call)
        if isinstance(self.result, Exception):
            raise self.result
        if call.body is not None:
            self.bodies.append([piece async for piece in call.body])
        return self.result


@pytest.fixture
def streaming(build):
    return lambda dispatch, **options: build(dispatch=dispatch, streams=STREAMS, **options)


def put(body, payload=None, **headers):
    head = {"Content-Length": str(len(b"".join(body))), **headers}
    return signed_object("PUT", "/bucket/key", "", head, b"".join(body), payload=payload) | {"body": body}


async def test_a_body_is_handed_on_in_pieces(streaming):
    dispatch = Reader()
    answer = await ask(streaming(dispatch), **put([b"abc", b"def"]))
    assert (answer.status, dispatch.bodies) == (200, [[b"abc", b"def"]])
    (call,) = dispatch.calls
    assert (call.body.length, call.params.get("Body"), call.params["Key"]) == (6, None, "key")


async def test_the_hash_is_checked_at_the_end(streaming):
    request = put([b"abc"])
    request["body"] = [b"abd"]
    answer = await ask(streaming(Reader()), **request)
    assert (answer.status, b"XAmzContentSHA256Mismatch" in answer.body) == (400, True)


@pytest.mark.parametrize("sent", [[b"ab"], [b"abcd"]])
async def test_the_length_must_be_the_declared_one(streaming, sent):
    request = put([b"abc"], payload="UNSIGNED-PAYLOAD")
    request["headers"]["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    request["body"] = sent
    answer = await ask(streaming(Reader()), **request)
    assert (answer.status, b"IncompleteBody" in answer.body) == (400, True)


async def test_a_refusal_before_the_body_ends_the_connection(streaming):
    request = put([b"x" * 600_000] * 4, payload="UNSIGNED-PAYLOAD")
    request["headers"]["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    refused = Reader(ServiceError("no", code="NoSuchBucket", status=404))
    answer = await ask(streaming(refused), **request)
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    request["body"] = [b"small"]
    assert "connection" not in (await ask(streaming(refused), **request)).headers


async def test_answers_stream_with_their_own_status(streaming):
    closed = []

    async def pieces():
        try:
            yield b"ab"
            yield b"cd"
        finally:
            closed.append(True)

    result = {"Body": pieces(), "ContentLength": 4, "ContentRange": "bytes 0-3/9"}
    answer = await ask(streaming(Reader(Reply(result=result, status=206))), **signed_object("GET", "/b/k", "", {}, b""))
    told = (answer.status, answer.body, answer.headers["content-length"], answer.headers["content-range"])
    assert (told, closed) == ((206, b"abcd", "4", "bytes 0-3/9"), [True])
    assert len(answer.pieces) == 3


async def test_unsigned_requests_reach_public_services_only(streaming):
    dispatch = Reader()
    gateway = streaming(dispatch, public={"s3"})
    assert (await ask(gateway, path="/bucket/key", headers={"Host": "h"})).status == 200
    assert (dispatch.calls[0].identity.account, dispatch.calls[0].identity.access_key) == ("", "")
    assert (await ask(gateway, query="Action=DescribeVpcs", headers={"Host": "h"})).status == 403
    upload = {"Host": "h", "Content-Length": "2"}
    assert (await ask(gateway, "PUT", "/bucket/key", headers=upload, body=b"ab")).status == 200
    assert dispatch.bodies == [[b"ab"]]
    assert len(dispatch.calls) == 2


async def test_not_modified_has_no_body(streaming):
    unchanged = Reader(ServiceError("", code="NotModified", status=304, headers={"etag": '"x"'}))
    answer = await ask(streaming(unchanged), **signed_object("GET", "/b/k", "", {}, b""))
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", '"x"')


async def test_whole_bodies_of_s3_are_compared_with_their_md5(streaming):
    good = signed_object("PUT", "/b", "tagging=", {"Content-MD5": "kAFQmDzST7DWlj99KOF/cg=="}, b"abc")
    assert b"BadDigest" not in (await ask(streaming(Reader()), **good)).body
    bad = signed_object("PUT", "/b", "tagging=", {"Content-MD5": "kAFQmDzST7DWlj99KOF/cg=="}, b"abd")
    answer = await ask(streaming(Reader()), **bad)
    assert (answer.status, b"BadDigest" in answer.body) == (400, True)
