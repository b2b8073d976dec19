"""The gateway's handlers, one by one, through the ASGI interface."""

import logging
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from gateway_requests import (
    ACCESS_KEY,
    ACCOUNT,
    REGIONS,
    SECRET,
    SESSION_KEY,
    SESSION_TOKEN,
    ask,
    signed_form,
    signed_object,
)
from libcloud.compute.drivers.ec2 import EC2NodeDriver

from pileus.aws.signing import Reason, SignatureRefused
from pileus.gateway import body

VPCS = "Action=DescribeVpcs&Version=2016-11-15"


async def test_health_needs_no_signature(gateway):
    answer = await ask(gateway, path="/health")
    assert answer.status == 200
    assert b'"status":"ok"' in answer.body
    assert answer.headers["x-amzn-requestid"]


async def test_every_request_has_an_id_of_its_own(gateway):
    ids = {(await ask(gateway, **signed_form(VPCS))).headers["x-amzn-requestid"] for _ in range(3)}
    assert len(ids) == 3


WANTED = (
    "authorization, content-type, x-amz-date, x-amz-content-sha256, x-amz-user-agent, x-amz-security-token, "
    "amz-sdk-invocation-id, amz-sdk-request, x-amz-target"
)


async def test_preflight_allows_what_the_browser_sdk_sends(gateway, dispatch):
    asked = {
        "Origin": "https://console.test",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": WANTED,
    }
    answer = await ask(gateway, "OPTIONS", headers=asked)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert set(WANTED.split(", ")) <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert not dispatch.calls


async def test_answers_to_other_origins_can_be_read(gateway):
    for request in (
        signed_form(VPCS, headers={"Origin": "https://console.test"}),
        {"headers": {"Origin": "https://console.test"}},
    ):
        answer = await ask(gateway, **request)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "x-amzn-requestid" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in (await ask(gateway, **signed_form(VPCS))).headers


async def test_the_body_carries_the_request_id(gateway):
    answer = await ask(gateway, **signed_form(VPCS))
    assert ElementTree.fromstring(answer.body).find("{*}requestId").text == answer.headers["x-amzn-requestid"]


async def test_bodies_in_pieces(gateway, dispatch):
    request = signed_form(VPCS)
    request["body"] = [bytes([octet]) for octet in request["body"]] + [b""]
    assert (await ask(gateway, **request)).status == 200
    assert dispatch.calls[0].operation == "DescribeVpcs"


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ({"Content-Length": str(body.MAX_BODY + 1)}, [b""]),
        ({"Content-Length": "9" * 40}, [b""]),
        ({}, [b"x" * body.MAX_BODY, b"x", b""]),
    ],
)
async def test_large_bodies_are_refused(gateway, dispatch, headers, pieces):
    answer = await ask(gateway, "POST", headers={"Host": "h", **headers}, body=pieces)
    assert answer.status == 413
    assert b"RequestEntityTooLarge" in answer.body
    assert answer.headers["connection"] == "close"


async def test_a_client_that_leaves_gets_nothing(gateway):
    sent = []
    messages = [{"type": "http.request", "body": b"Action=", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [], "client": None}
    await gateway(scope, receive, send)
    assert sent == []


async def test_large_answers_are_sent_in_pieces(gateway, dispatch):
    dispatch.results["GetConsoleOutput"] = {"Output": "x" * 3_000_000}
    answer = await ask(gateway, **signed_form("Action=GetConsoleOutput&InstanceId=i-1&Version=2016-11-15"))
    assert len(answer.pieces) == 3
    assert int(answer.headers["content-length"]) == len(answer.body) > 3_000_000


async def test_unknown_operations_and_services(gateway):
    answer = await ask(gateway, **signed_form("Action=DescribeDragons&Version=2016-11-15"))
    assert (answer.status, b"InvalidAction" in answer.body) == (400, True)
    target = {"X-Amz-Target": "AmazonSSM.GetDragon", "Content-Type": "application/x-amz-json-1.1"}
    answer = await ask(gateway, **signed_form("{}", service="ssm", headers=target))
    assert answer.body.startswith(b'{"__type":"UnknownOperation')
    answer = await ask(gateway, **signed_form("Action=X", service="dragons"))
    assert (answer.status, b"UnknownService" in answer.body) == (404, True)


async def test_unsigned_requests(gateway):
    answer = await ask(gateway, query=VPCS, headers={"Host": "h"})
    assert (answer.status, b"<Code>MissingAuthenticationToken</Code>" in answer.body) == (403, True)
    assert b"<RequestID>" in answer.body  # ec2's own form
    target = {"Host": "h", "X-Amz-Target": "AmazonSSM.GetParameter"}
    answer = await ask(gateway, "POST", headers=target, body=b"{}")
    assert (answer.status, b"MissingAuthenticationTokenException" in answer.body) == (400, True)


async def test_services_without_regions_are_signed_for_us_east_1(gateway, dispatch):
    answer = await ask(gateway, **signed_form("Action=ListUsers&Version=2010-05-08", service="iam", region="us-east-1"))
    assert answer.status == 200
    assert dispatch.calls[0].region == REGIONS[0]
    assert (await ask(gateway, **signed_form(VPCS, region="us-east-1"))).status == 401


async def test_version_2_takes_its_region_from_the_host(gateway, dispatch):
    host = "ec2.ap-south-1.pileus.test:8443"
    signer = EC2NodeDriver(
        ACCESS_KEY, SECRET, host="ec2.ap-south-1.pileus.test", port=8443, signature_version="2"
    ).connection.signer
    params = signer.get_request_params({"Action": "DescribeInstances", "InstanceId.0": "i-1 é"})
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in params.items())
    answer = await ask(gateway, query=query, headers={"Host": host})
    assert answer.status == 200
    assert dispatch.calls[0].region == "ap-south-1"
    assert dispatch.calls[0].params == {"InstanceIds": ["i-1 é"]}
    assert (await ask(gateway, query=query.replace("i-1", "i-2"), headers={"Host": host})).status == 403


async def test_version_2_is_for_query_services_only(gateway, dispatch):
    signer = EC2NodeDriver(ACCESS_KEY, SECRET, host="s3.test", port=443, signature_version="2").connection.signer
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in signer.get_request_params({}).items())
    answer = await ask(gateway, query=query, headers={"Host": "s3.test"})
    assert answer.status == 400
    assert not dispatch.calls


async def test_a_session_needs_its_token(gateway):
    assert (await ask(gateway, **signed_form(VPCS, key=SESSION_KEY, token=SESSION_TOKEN))).status == 200
    assert (await ask(gateway, **signed_form(VPCS, key=SESSION_KEY))).status == 401


async def test_a_session_that_is_over(build):
    class Expired:
        def lookup(self, access_key, session_token):
            raise SignatureRefused(Reason.EXPIRED_TOKEN)

    answer = await ask(build(keyring=Expired()), **signed_form(VPCS, key=SESSION_KEY, token=SESSION_TOKEN))
    assert (answer.status, b"RequestExpired" in answer.body) == (400, True)
    request = signed_form(
        "Action=GetCallerIdentity&Version=2011-06-15", service="sts", key=SESSION_KEY, token=SESSION_TOKEN
    )
    answer = await ask(build(keyring=Expired()), **request)
    assert (answer.status, b"<Code>ExpiredToken</Code>" in answer.body) == (403, True)


async def test_s3_has_its_own_name_for_the_request_id(gateway, dispatch):
    answer = await ask(gateway, **signed_object("GET", "/", "", {}, b""))
    assert answer.status == 200
    assert answer.headers["x-amz-request-id"] == dispatch.calls[0].request_id
    refused = await ask(gateway, path="/bucket/key", headers={"Host": "h"})
    assert (refused.status, b"AccessDenied" in refused.body) == (403, True)
    assert refused.headers["x-amz-request-id"].encode() in refused.body


async def test_an_answer_to_head_says_how_long_it_would_be(gateway, dispatch):
    dispatch.results["HeadObject"] = {"ContentLength": 12345}
    answer = await ask(gateway, **signed_object("HEAD", "/bucket/key", "", {}, b""))
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "12345")


async def test_chunked_bodies_arrive_whole(gateway, dispatch):
    head = {
        "Content-Encoding": "aws-chunked,gzip",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": "5",
        "Content-Type": "text/plain",
    }
    chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:hYfU9Q==\r\n\r\n"
    payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    answer = await ask(gateway, **signed_object("PUT", "/bucket/key", "", head, chunks, payload=payload))
    assert answer.status == 200, answer.body
    params = dispatch.calls[0].params
    assert (params["Body"], params["ContentEncoding"], params["ChecksumCRC32"]) == (b"abcde", "gzip", "hYfU9Q==")


async def test_the_log_has_the_request_but_none_of_its_values(gateway, dispatch, caplog):
    caplog.set_level(logging.INFO)
    answer = await ask(
        gateway, **signed_form("Action=ImportKeyPair&KeyName=hidden&PublicKeyMaterial=aGlkZGVu&Version=2016-11-15")
    )
    (record,) = [record for record in caplog.records if record.message == "request"]
    assert (record.service, record.operation, record.account) == ("ec2", "ImportKeyPair", ACCOUNT)
    assert (record.status, record.request_id) == (200, answer.headers["x-amzn-requestid"])
    assert record.milliseconds >= 0
    for value in ("hidden", "aGlkZGVu", SECRET):
        assert value not in str(record.__dict__)


async def test_a_result_that_is_not_the_models_is_our_fault(gateway, dispatch):
    dispatch.results["DescribeVpcs"] = {"Dragons": []}
    answer = await ask(gateway, **signed_form(VPCS))
    assert (answer.status, b"InternalError" in answer.body, b"Dragons" in answer.body) == (500, True, False)


async def test_lifespan(gateway):
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await gateway({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
