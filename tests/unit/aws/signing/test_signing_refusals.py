"""When and why requests are refused, and what each family of services says then."""

import base64
import hmac
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV2Auth, SigV4Auth, SigV4QueryAuth
from botocore_signing import ACCESS_KEY, HOST, SECRET, changed, signed, verified
from hypothesis import given
from hypothesis import strategies as st

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.signing import Family, Reason, SignatureRefused, credential_of, family_of, keys, open_body, verify
from pileus.aws.signing.refusals import ANSWERS

EC2 = ("ec2", "eu-west-1")
S3 = ("s3", "eu-west-1")
SECOND = timedelta(seconds=1)


def reason_at(request: HttpRequest, offset: timedelta) -> Reason | None:
    """Why a request is refused when it comes so long after it was signed; None when it is not."""
    credential = credential_of(request)
    moment = credential.signed_at
    assert moment is not None
    try:
        verify(request, credential, SECRET, moment + offset)
    except SignatureRefused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(
    ("request_", "skew"),
    [
        (signed(SigV4Auth, *EC2), timedelta(minutes=5)),
        (signed(SigV2Auth, params={"Action": "X"}), timedelta(minutes=5)),
        (signed(S3SigV4Auth, *S3), timedelta(minutes=15)),
    ],
    ids=["ec2", "version 2", "s3"],
)
def test_clocks_may_differ_a_little(request_, skew):
    assert reason_at(request_, skew) is None
    assert reason_at(request_, -skew) is None
    assert reason_at(request_, skew + SECOND) is Reason.SKEWED
    assert reason_at(request_, -skew - SECOND) is Reason.SKEWED


@pytest.mark.parametrize(("signer", "scope"), [(SigV4QueryAuth, EC2), (S3SigV4QueryAuth, S3)])
def test_a_presigned_url_ends_when_it_says(signer, scope):
    request = signed(signer, *scope, expires=7200)
    assert reason_at(request, timedelta(seconds=7200)) is None
    assert reason_at(request, timedelta(seconds=7201)) is Reason.EXPIRED
    assert reason_at(request, -timedelta(minutes=16)) is Reason.NOT_YET_VALID


@pytest.mark.parametrize("expires", [0, -1, 604_801, "x", "9" * 30])
def test_a_presigned_url_lasts_a_week_at_most(expires):
    with pytest.raises(SignatureRefused) as refused:
        credential_of(signed(S3SigV4QueryAuth, *S3, expires=expires))
    assert refused.value.reason is Reason.MALFORMED_QUERY


def test_version_2_with_sha1_and_expires():
    end = datetime(2030, 1, 1, tzinfo=UTC)
    parameters = {
        "AWSAccessKeyId": ACCESS_KEY,
        "Action": "DescribeInstances",
        "Expires": "2030-01-01T00:00:00.000Z",
        "SignatureMethod": "HmacSHA1",
        "SignatureVersion": "2",
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    digest = hmac.digest(SECRET.encode(), f"GET\n{HOST}\n/\n{query}".encode(), "sha1")
    query += f"&Signature={quote(base64.b64encode(digest), safe='')}"
    request = HttpRequest("GET", "/", query, Headers([("Host", HOST)]), b"")
    verify(request, credential_of(request), SECRET, end)
    with pytest.raises(SignatureRefused) as refused:
        verify(request, credential_of(request), SECRET, end + SECOND)
    assert refused.value.reason is Reason.EXPIRED


AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=A/20150830/r/s/aws4_request, SignedHeaders=host, Signature=0"


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("", Reason.MALFORMED_HEADER),
        ("nonsense", Reason.MALFORMED_HEADER),
        ("AWS AKID:signature", Reason.UNSUPPORTED),
        ("Bearer token", Reason.UNSUPPORTED),
        ("AWS4-ECDSA-P256-SHA256 Credential=A", Reason.UNSUPPORTED),
        ("AWS4-HMAC-SHA256", Reason.MALFORMED_HEADER),
        (AUTHORIZATION.replace("Signature=0", "Signature="), Reason.MALFORMED_HEADER),
        (AUTHORIZATION.replace("Credential=A/", "Credential="), Reason.MALFORMED_HEADER),
        (AUTHORIZATION + ", Signature=1", Reason.MALFORMED_HEADER),
        (AUTHORIZATION.replace("aws4_request", "aws5_request"), Reason.WRONG_SCOPE),
        (AUTHORIZATION, Reason.MALFORMED_HEADER),  # without a date
    ],
)
def test_headers_that_cannot_be_read(authorization, reason):
    with pytest.raises(SignatureRefused) as refused:
        credential_of(HttpRequest("GET", "/", "", Headers([("Host", "h"), ("Authorization", authorization)]), b""))
    assert refused.value.reason is reason


def test_no_signature_at_all():
    with pytest.raises(SignatureRefused) as refused:
        credential_of(HttpRequest("GET", "/", "Action=X", Headers([("Host", "h")]), b""))
    assert refused.value.reason is Reason.MISSING


def test_header_and_query_exclude_one_another():
    request = signed(SigV4Auth, *EC2)
    with pytest.raises(SignatureRefused):
        credential_of(changed(request, query="X-Amz-Signature=00"))


def test_the_dates_of_scope_and_clock_must_agree():
    request = signed(SigV4Auth, *EC2)
    tampered = changed(request, headers=[("x-amz-date", "20200101T000000Z")])
    with pytest.raises(SignatureRefused) as refused:
        verified(tampered)
    assert refused.value.reason is Reason.WRONG_SCOPE


def test_s3_wants_the_hash_of_the_payload():
    with pytest.raises(SignatureRefused) as refused:
        verified(changed(signed(S3SigV4Auth, *S3), without="x-amz-content-sha256"))
    assert refused.value.reason is Reason.MISSING_HASH


def test_a_false_payload_of_s3_is_told_from_a_false_signature():
    with pytest.raises(SignatureRefused) as refused:
        verified(changed(signed(S3SigV4Auth, *S3, method="PUT", data=b"a"), body=b"b"))
    assert refused.value.reason is Reason.WRONG_PAYLOAD


def test_the_host_is_always_signed():
    class Hostless(SigV4Auth):
        def headers_to_sign(self, request):
            names = super().headers_to_sign(request)
            del names["host"]
            return names

    with pytest.raises(SignatureRefused) as refused:
        verified(signed(Hostless, *EC2))
    assert refused.value.reason is Reason.UNSIGNED_HEADER


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_only_s3_takes_unsigned_bodies(payload):
    class Unsigned(SigV4Auth):
        def payload(self, request):
            return payload

    with pytest.raises(SignatureRefused) as refused:
        verified(signed(Unsigned, *EC2, method="POST", data=b"Action=X"))
    assert refused.value.reason is Reason.MISMATCH


def streamed(body: bytes, length: str | None = "5") -> HttpRequest:
    """A request with unsigned chunks, signed by botocore as it does over TLS."""

    class Streaming(S3SigV4Auth):
        def payload(self, request):
            return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    headers = {"x-amz-trailer": "x-amz-checksum-crc32"}
    if length is not None:
        headers["x-amz-decoded-content-length"] = length
    return signed(Streaming, *S3, method="PUT", url="/b/k", headers=headers.items(), data=body)


def test_unsigned_chunks():
    body = verified(streamed(b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:hYfU9Q==\r\n\r\n"))
    assert body.data == b"abcde"
    assert body.trailers == {"x-amz-checksum-crc32": "hYfU9Q=="}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"5\r\nabcde\r\n",
        b"5\r\nabcde\r\n0\r\n\r\n",  # the trailer that was announced is missing
        b"5\r\nabcde\r\n0\r\nx-amz-checksum-crc32:a\r\nx-amz-acl:public-read\r\n\r\n",
        b"5\r\nabcde\r\n0\r\nx-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:b\r\n\r\n",
        b"5\r\nabcdef\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n",
        b"6\r\nabcdef\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n",
        b"4\r\nabcd\r\n0\r\nx-amz-checksum-crc32:a\r\n\r\n",
        b"-1\r\n",
        b"5_\r\n",
        b"ffffffffff\r\n",
        b"5" * 5000,
    ],
)
def test_broken_framing(body):
    with pytest.raises(SignatureRefused) as refused:
        verified(streamed(body))
    assert refused.value.reason is Reason.INCOMPLETE_BODY


@pytest.mark.parametrize("length", [None, "", "-5", "x", "9" * 20])
def test_a_stream_says_its_length(length):
    with pytest.raises(SignatureRefused) as refused:
        verified(streamed(b"", length))
    assert refused.value.reason is Reason.INCOMPLETE_BODY


def test_a_whole_body_can_be_read_as_a_stream():
    request = signed(S3SigV4Auth, *S3, method="PUT", data=b"abcde")
    credential = credential_of(request)
    reader = open_body(request, credential, SECRET, credential.signed_at)
    assert reader.feed(b"abc") + reader.feed(b"de") == b"abcde"
    assert reader.finish() == {}
    reader = open_body(request, credential, SECRET, credential.signed_at)
    reader.feed(b"abcd")
    with pytest.raises(SignatureRefused):
        reader.finish()


def test_requests_whose_signature_covers_the_body_cannot_be_streamed():
    request = signed(SigV4Auth, *EC2)
    with pytest.raises(SignatureRefused):
        open_body(request, credential_of(request), SECRET, credential_of(request).signed_at)


wire_text = st.text(st.characters(max_codepoint=255), max_size=60)


@given(
    method=st.sampled_from(["GET", "POST"]),
    path=wire_text,
    query=st.one_of(wire_text, st.lists(wire_text).map(lambda parts: "X-Amz-Signature=" + "&".join(parts))),
    headers=st.lists(
        st.tuples(st.sampled_from(["Authorization", "Host", "Date", "X-Amz-Date", "Content-Type"]), wire_text)
    ),
    body=st.binary(max_size=60),
)
def test_garbage_is_refused_and_nothing_else(method, path, query, headers, body):
    with pytest.raises(SignatureRefused):
        verified(HttpRequest(method, path, query, Headers(headers), body))


def test_every_family_answers_every_reason():
    assert set(ANSWERS) == set(Family)
    for answers in ANSWERS.values():
        assert set(answers) == set(Reason)


@pytest.mark.parametrize(
    ("service", "protocol", "reason", "code", "status"),
    [
        ("ec2", "ec2", Reason.UNKNOWN_KEY, "AuthFailure", 401),
        ("ec2", "ec2", Reason.MISMATCH, "SignatureDoesNotMatch", 403),
        ("ec2", "ec2", Reason.SKEWED, "RequestExpired", 400),
        ("sts", "query", Reason.UNKNOWN_KEY, "InvalidClientTokenId", 403),
        ("iam", "query", Reason.EXPIRED_TOKEN, "ExpiredToken", 403),
        ("iam", "query", Reason.MALFORMED_HEADER, "IncompleteSignature", 403),
        ("ssm", "json", Reason.UNKNOWN_KEY, "UnrecognizedClientException", 400),
        ("ssm", "json", Reason.MISMATCH, "InvalidSignatureException", 400),
        ("lambda", "rest-json", Reason.MISMATCH, "InvalidSignatureException", 403),
        ("s3", "rest-xml", Reason.UNKNOWN_KEY, "InvalidAccessKeyId", 403),
        ("s3", "rest-xml", Reason.SKEWED, "RequestTimeTooSkewed", 403),
        ("s3", "rest-xml", Reason.EXPIRED, "AccessDenied", 403),
    ],
)
def test_families_speak_as_aws_does(service, protocol, reason, code, status):
    told = SignatureRefused(reason, "detail").told_by(family_of(service, protocol))
    assert (told.reason, told.code, told.status) == (reason, code, status)
    assert "{" not in told.message


def test_the_cache_of_signing_keys_is_bounded(monkeypatch):
    monkeypatch.setattr(keys, "_KEPT", 3)
    monkeypatch.setattr(keys, "_cache", type(keys._cache)())
    derived = [keys.signing_key("secret", str(day), "r", "s") for day in range(5)]
    assert len(keys._cache) == 3
    assert len(set(derived)) == 5
    assert keys.signing_key("secret", "0", "r", "s") == derived[0]
    assert b"secret" not in b"".join(name[0] for name in keys._cache)
