"""The examples that AWS publishes, signatures and all."""

from datetime import UTC, datetime

import pytest

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.signing import SignatureRefused, credential_of, open_body, verify

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
S3_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
IN_2013 = datetime(2013, 5, 24, tzinfo=UTC)
IN_2015 = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def request(method: str, path: str, headers: dict[str, str], query: str = "", body: bytes = b"") -> HttpRequest:
    return HttpRequest(method, path, query, Headers(headers.items()), body)


def authorization(signature: str, signed_headers: str, scope: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={scope}/aws4_request,SignedHeaders={signed_headers},Signature={signature}"


@pytest.mark.parametrize(
    ("path", "query", "signature"),
    [  # the suite of tests for Signature Version 4
        ("/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/", "Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("/./example/..//", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("/example space/", "", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        ("/ሴ".encode().decode("latin-1"), "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ],
)
def test_the_suite(path, query, signature):
    headers = {
        "Host": "example.amazonaws.com",
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": authorization(signature, "host;x-amz-date", "AKIDEXAMPLE/20150830/us-east-1/service"),
    }
    arrived = request("GET", path, headers, query)
    verify(arrived, credential_of(arrived), SECRET, IN_2015)


def test_list_users():
    headers = {
        "Host": "iam.amazonaws.com",
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": authorization(
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            "content-type;host;x-amz-date",
            "AKIDEXAMPLE/20150830/us-east-1/iam",
        ),
    }
    arrived = request("GET", "/", headers, "Action=ListUsers&Version=2010-05-08")
    verify(arrived, credential_of(arrived), SECRET, IN_2015)


S3_EXAMPLES = {
    "get object": (
        "GET",
        "/test.txt",
        "",
        {"Range": "bytes=0-9", "x-amz-content-sha256": EMPTY, "x-amz-date": "20130524T000000Z"},
        b"",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "put object": (
        "PUT",
        "/test$file.text",
        "",
        {
            "Date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            "x-amz-date": "20130524T000000Z",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
        },
        b"Welcome to Amazon S3.",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "get lifecycle": (
        "GET",
        "/",
        "lifecycle",
        {"x-amz-content-sha256": EMPTY, "x-amz-date": "20130524T000000Z"},
        b"",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "list objects": (
        "GET",
        "/",
        "max-keys=2&prefix=J",
        {"x-amz-content-sha256": EMPTY, "x-amz-date": "20130524T000000Z"},
        b"",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize("example", S3_EXAMPLES)
def test_s3(example):
    method, path, query, headers, body, signature = S3_EXAMPLES[example]
    headers = {"Host": "examplebucket.s3.amazonaws.com", **headers}
    names = ";".join(sorted(name.lower() for name in headers))
    headers["Authorization"] = authorization(signature, names, "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3")
    arrived = request(method, path, headers, query, body)
    assert verify(arrived, credential_of(arrived), S3_SECRET, IN_2013).data == body


def test_presigned_s3():
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    arrived = request("GET", "/test.txt", {"Host": "examplebucket.s3.amazonaws.com"}, query)
    verify(arrived, credential_of(arrived), S3_SECRET, datetime(2013, 5, 25, tzinfo=UTC))


def test_version_2():
    query = (
        "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Action=DescribeJobFlows&SignatureMethod=HmacSHA256&SignatureVersion=2"
        "&Timestamp=2011-10-03T15%3A19%3A30&Version=2009-03-31&Signature=i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf%2FMj6vPxyYIs%3D"
    )
    arrived = request("GET", "/", {"Host": "elasticmapreduce.amazonaws.com"}, query)
    verify(arrived, credential_of(arrived), S3_SECRET, datetime(2011, 10, 3, 15, 19, 30, tzinfo=UTC))


CHUNKS = (b"a" * 65536, b"a" * 1024, b"")
PLAIN_SIGNATURES = (
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
TRAILED_SIGNATURES = (
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
)
TRAILERS = (
    b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"
)


def chunks(signatures: tuple[str, ...]) -> bytes:
    framed = b""
    for data, signature in zip(CHUNKS, signatures, strict=True):
        framed += f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + (b"\r\n" if data else b"")
    return framed


def put_in_chunks(body: bytes, *, trailers: bool) -> HttpRequest:
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    headers = {
        "Host": "s3.amazonaws.com",
        "Content-Encoding": "aws-chunked",
        "x-amz-content-sha256": kind + "-TRAILER" if trailers else kind,
        "x-amz-date": "20130524T000000Z",
        "x-amz-decoded-content-length": "66560",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    if trailers:
        headers["x-amz-trailer"] = "x-amz-checksum-crc32c"
        signature = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    else:
        headers["Content-Length"] = "66824"
        signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    names = ";".join(sorted(name.lower() for name in headers))
    headers["Authorization"] = authorization(signature, names, "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3")
    return request("PUT", "/examplebucket/chunkObject.txt", headers, body=body)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_chunks(end):
    arrived = put_in_chunks(chunks(PLAIN_SIGNATURES) + end, trailers=False)
    body = verify(arrived, credential_of(arrived), S3_SECRET, IN_2013)
    assert (body.data, body.trailers) == (b"a" * 66560, {})


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_chunks_with_trailers(end):
    arrived = put_in_chunks(chunks(TRAILED_SIGNATURES) + TRAILERS + end, trailers=True)
    body = verify(arrived, credential_of(arrived), S3_SECRET, IN_2013)
    assert (body.data, body.trailers) == (b"a" * 66560, {"x-amz-checksum-crc32c": "sOO8/Q=="})


@pytest.mark.parametrize("step", [1, 7, 1000, 70000])
def test_chunks_as_a_stream(step):
    head = put_in_chunks(b"", trailers=True)
    wire = chunks(TRAILED_SIGNATURES) + TRAILERS + b"\r\n"
    reader = open_body(head, credential_of(head), S3_SECRET, IN_2013)
    out = b"".join(reader.feed(wire[start : start + step]) for start in range(0, len(wire), step))
    assert out == b"a" * 66560
    assert reader.finish() == {"x-amz-checksum-crc32c": "sOO8/Q=="}


def test_every_byte_of_a_chunked_body_is_covered():
    wire = chunks(TRAILED_SIGNATURES) + TRAILERS + b"\r\n"
    places = [*range(90), 65535, *range(65536 + 80, 65536 + 200), *range(len(wire) - 250, len(wire))]
    for place in places:
        tampered = bytearray(wire)
        tampered[place] ^= 0x04
        arrived = put_in_chunks(bytes(tampered), trailers=True)
        with pytest.raises(SignatureRefused):
            verify(arrived, credential_of(arrived), S3_SECRET, IN_2013)


def test_chunks_can_neither_be_cut_nor_reordered():
    wire = chunks(TRAILED_SIGNATURES) + TRAILERS
    second = wire.index(b"400;chunk")
    end = wire.index(b"0;chunk-signature=2ca2")
    trailers = wire.index(b"x-amz-checksum")
    for broken in (
        b"",
        wire[:second],
        wire[:end],
        wire[:trailers],
        wire[: wire.index(b"x-amz-trailer-signature")],
        wire[second:end] + wire[:second] + wire[end:],
        wire[:second] + wire[end:],
        wire + b"\r\nmore",
    ):
        arrived = put_in_chunks(broken, trailers=True)
        with pytest.raises(SignatureRefused):
            verify(arrived, credential_of(arrived), S3_SECRET, IN_2013)
