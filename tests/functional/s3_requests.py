"""Requests to S3 below the level of clients: raw HTTP over loopback, signed by botocore, and bodies of a given length."""

import asyncio
import hashlib
import http.client
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "us-east-1"


def keys_of(credentials):
    return Credentials(credentials.access_key, credentials.secret_key)


def signed(cloud, method, path, headers=None, body=b"", *, payload=None, region=REGION, credentials=None, host=None):
    """A request's method, URL path, headers and body, signed for S3. ``payload`` stands in place of the body's hash."""

    class Signer(S3SigV4Auth):
        def payload(self, request):
            return payload or super().payload(request)

    place = host or urlsplit(cloud.endpoint).netloc
    request = AWSRequest(method, f"http://{place}{path}", dict(headers or {}), body)
    Signer(keys_of(credentials or cloud.credentials), "s3", region).add_auth(request)
    return method, path, {**dict(request.headers.items()), "Host": place}, body


def presigned(cloud, method, path, expires=60):
    request = AWSRequest(method, cloud.endpoint + path)
    S3SigV4QueryAuth(keys_of(cloud.credentials), "s3", REGION, expires=expires).add_auth(request)
    return request.url.removeprefix(cloud.endpoint)


def _ask(cloud, method, path, headers, body):
    parts = urlsplit(cloud.endpoint)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


async def ask(cloud, method, path, headers=None, body=None):
    """Status, headers by lower-case name, and body of the answer."""
    return await asyncio.to_thread(_ask, cloud, method, path, headers, body)


def pattern(size, seed=b"pileus"):
    """Bytes that repeat nowhere soon."""
    blocks = (hashlib.sha512(seed + str(index).encode()).digest() for index in range(-(-size // 64)))
    return b"".join(blocks)[:size]


async def bytes_of(answer):
    """The body of GetObject's answer; the cloud that sends it is in the same event loop."""
    return await asyncio.to_thread(answer["Body"].read)
