"""Whatever comes, signed or not, is answered, with an id, and never by a fault of ours."""

import json
from urllib.parse import quote
from xml.etree import ElementTree

from gateway_requests import REGIONS, Answer, FakeDispatch, HandClock, Keys, ask, signed_form, signed_object
from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.gateway.app import Gateway

octets = st.characters(max_codepoint=255)
text = st.text(octets, max_size=40)
names = st.sampled_from(
    [
        "Authorization", "Host", "Content-Type", "Content-Length", "Date", "X-Amz-Date", "X-Amz-Target", "Origin",
        "X-Amz-Content-Sha256", "X-Amz-Security-Token", "Smithy-Protocol", "X-Amz-Decoded-Content-Length", "Expect",
    ]
)  # fmt: skip
words = st.sampled_from(
    [
        "AWS4-HMAC-SHA256 Credential=AKIAPILEUSEXAMPLE000/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host;;\xff, Signature=\xff",
        "application/x-www-form-urlencoded", "application/x-amz-json-1.1", "AmazonSSM.GetParameter", "rpc-v2-cbor",
        "20260101T000000Z", "Thu, 01 Jan 2026 00:00:00 GMT", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "5", "-1",
    ]
)  # fmt: skip
parameters = st.lists(
    st.one_of(
        text,
        st.sampled_from(
            [
                "Action=DescribeVpcs", "Version=2016-11-15", "Action=GetCallerIdentity", "AWSAccessKeyId=A", "Signature=x",
                "SignatureVersion=2", "SignatureMethod=HmacSHA256", "Timestamp=2026-01-01T00:00:00Z", "Expires=x",
                "X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Credential=a/20260101/eu-west-1/s3/aws4_request",
                "X-Amz-Date=20260101T000000Z", "X-Amz-SignedHeaders=host", "X-Amz-Signature=%ff", "X-Amz-Expires=60",
                "Filter.1.Value.1=%80", "VpcId.1=a", "VpcId.x.y=b", "MaxResults=1e9", "DryRun=maybe",
            ]
        ),
    ),
    max_size=10,
).map("&".join)  # fmt: skip


def fuzzed() -> Gateway:
    return Gateway(
        keyring=Keys(),
        dispatch=FakeDispatch(),
        regions=REGIONS,
        default_region=REGIONS[0],
        clock=HandClock(),
        body_patience=5,
    )


def check(answer: Answer) -> None:
    """An answer that any client can read, and no fault of ours."""
    assert 200 <= answer.status < 500
    assert answer.headers.keys() & {"x-amzn-requestid", "x-amz-request-id"}
    kind = answer.headers.get("content-type", "")
    if answer.body and "xml" in kind:
        ElementTree.fromstring(answer.body)
    elif answer.body and "json" in kind:
        json.loads(answer.body)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
async def test_garbage(data):
    answer = await ask(
        fuzzed(),
        data.draw(st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "BREW"])),
        "/" + data.draw(text),
        data.draw(parameters),
        data.draw(st.dictionaries(names, st.one_of(text, words), max_size=6)),
        data.draw(
            st.lists(
                st.one_of(st.binary(max_size=60), parameters.map(lambda form: form.encode("latin-1"))),
                min_size=1,
                max_size=3,
            )
        ),
    )
    check(answer)


TARGETS = {
    "ec2": {},
    "sts": {},
    "iam": {},
    "ssm": {"X-Amz-Target": "AmazonSSM.GetParameters", "Content-Type": "application/x-amz-json-1.1"},
    "monitoring": {},
    "kms": {"X-Amz-Target": "TrentService.Encrypt"},
    "servicequotas": {"X-Amz-Target": "ServiceQuotasV20190624.GetServiceQuota"},
}


@settings(max_examples=300, deadline=None)
@given(data=st.data())
async def test_garbage_that_is_signed(data):
    service = data.draw(st.sampled_from(sorted(TARGETS)))
    body = data.draw(
        st.one_of(
            parameters,
            parameters.map(lambda form: "Action=DescribeInstances&" + form),
            parameters.map(lambda form: "Action=RunInstances&" + form),
            st.sampled_from(["{}", "[]", "null", '{"Names": 1}', '{"Names": [null]}', '{"a": "\\ud800"}', "[" * 500]),
        )
    )
    request = signed_form(body, service=service, headers=TARGETS[service])
    answer = await ask(fuzzed(), **request)
    check(answer)


METADATA = st.sampled_from(
    [
        "x-amz-acl",
        "x-amz-date",
        "range",
        "if-modified-since",
        "x-amz-meta-a",
        "content-md5",
        "x-amz-tagging",
        "x-amz-trailer",
    ]
)
FLAGS = st.sampled_from(
    ["acl", "uploads", "delete", "partNumber=x", "uploadId=%FF", "versioning", "list-type=2", "max-keys=many"]
)
DOCUMENTS = st.one_of(
    st.binary(max_size=60), st.sampled_from([b"<Delete>", b"<a/>", b"<Delete><Object><Key>", b"\xff<"])
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
async def test_garbage_to_s3_that_is_signed(data):
    request = signed_object(
        data.draw(st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "PATCH"])),
        quote("/" + data.draw(text), safe="/~"),
        "&".join(data.draw(st.lists(FLAGS, max_size=3))),
        data.draw(st.dictionaries(METADATA, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20))),
        data.draw(DOCUMENTS),
    )
    answer = await ask(fuzzed(), **request)
    check(answer)
