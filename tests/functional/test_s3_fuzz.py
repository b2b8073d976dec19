"""Requests to S3 that no client would send: each gets an answer of S3's, and none is a fault of ours."""

import asyncio
import random
from urllib.parse import quote

import pytest
from awaitable_client import Awaitable
from s3_requests import ask, signed

from pileus.aws.models import load_model

BUCKET = "the-bucket"
NAMES = ["the-bucket", "no-such-bucket", "x", "%00", "..", "a" * 300, ""]
KEYS = ["key", "", "a/b", "%F0%28", "%00", "k" * 1100, "..%2f..", "é"]
VALUES = [
    "",
    "0",
    "1",
    "-1",
    "99999999999999999999",
    "true",
    "\x7f",
    "é",
    "*",
    "/",
    "a=b",
    "2026-01-01T00:00:00Z",
    "AES256",
    "=" * 50,
]
BODIES = [
    b"",
    b"<",
    b"<a/>",
    b"{}",
    b"\x00\xff",
    b"<Delete><Object/></Delete>",
    b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
]


def wire_names():
    """Every parameter of a query string and every header of S3's model."""
    model = load_model("s3")
    query, headers = {"acl", "uploads", "delete", "policy", "tagging", "versioning", "cors", "lifecycle"}, set()
    for operation in model.operations():
        query |= {part.split("=")[0] for part in operation.http.request_uri.partition("?")[2].split("&") if part}
        if operation.input:
            for ref in model.shape(operation.input).members.values():
                if ref.location == "querystring":
                    query.add(ref.location_name)
                elif ref.location == "header" and ref.location_name != "Content-Length":
                    headers.add(ref.location_name)
    return sorted(query), sorted(headers)


QUERY, HEADERS = wire_names()


def request(chance, cloud):
    method = chance.choice(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"])
    path = f"/{chance.choice(NAMES)}/{quote(chance.choice(KEYS), safe='/%')}"
    chosen = [(chance.choice(QUERY), chance.choice(VALUES)) for _ in range(chance.choice((0, 1, 1, 2, 4)))]
    if chosen:
        path += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in chosen)
    names = chance.sample(HEADERS, chance.choice((0, 0, 1, 2, 5)))
    headers = {name: chance.choice(VALUES).encode("ascii", "replace").decode().replace("\x7f", "?") for name in names}
    body = chance.choice(BODIES) if method in {"PUT", "POST"} else b""
    if chance.random() < 0.3:
        return method, path, headers, body
    return signed(cloud, method, path, headers, body)


@pytest.mark.parametrize("seed", range(3))
async def test_nonsense(cloud, seed):
    s3 = Awaitable(cloud.client("s3"))
    await s3.create_bucket(Bucket=BUCKET)
    await s3.put_object(Bucket=BUCKET, Key="key", Body=b"body")
    chance = random.Random(seed)
    for _ in range(250):
        method, path, headers, body = request(chance, cloud)
        status, told, answer = await asyncio.wait_for(ask(cloud, method, path, headers, body), 30)
        asked = (method, path, headers, body)
        assert status < 500 or (status == 501 and b"NotImplemented" in answer), (asked, answer)
        if status >= 400 and method not in {"HEAD", "OPTIONS"}:
            assert b"<Code>" in answer, (asked, answer)
            assert "x-amz-request-id" in told or "x-amzn-requestid" in told, asked
