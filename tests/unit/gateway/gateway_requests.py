"""Requests to a gateway, and the fakes around it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pileus.base.clock import SystemClock
from pileus.gateway.app import Gateway
from pileus.gateway.authentication import KeyEntry
from pileus.operations.call import Call, Identity

ACCESS_KEY, SECRET = "AKIAPILEUSEXAMPLE000", "a/secret+of=old"
SESSION_KEY, SESSION_TOKEN = "ASIAPILEUSEXAMPLE000", "token/of+session=="
ACCOUNT = "123456789012"
REGIONS = ("eu-west-1", "ap-south-1")


class Keys:
    """A keyring of one long-term key and one session."""

    def lookup(self, access_key: str, session_token: str) -> KeyEntry | None:
        if (access_key, session_token) not in {(ACCESS_KEY, ""), (SESSION_KEY, SESSION_TOKEN)}:
            return None
        arn = f"arn:aws:iam::{ACCOUNT}:root"
        return KeyEntry(SECRET, Identity(account=ACCOUNT, arn=arn, user_id=ACCOUNT, access_key=access_key))


class FakeDispatch:
    """Remembers calls and gives what ``results`` holds for their operation: a value, or an error to raise."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.results: dict[str, Any] = {}

    async def __call__(self, call: Call) -> Any:
        self.calls.append(call)
        result = self.results.get(call.operation, {})
        if isinstance(result, Exception):
            raise result
        return result


class HandClock(SystemClock):
    """A clock that also moves when it is told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return self.ahead


class Answer:
    """What came back over ASGI."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status: int = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.pieces = [message["body"] for message in messages[1:]]
        self.body = b"".join(self.pieces)


async def ask(
    gateway: Gateway,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes | list[bytes] = b"",
) -> Answer:
    """One request through the ASGI interface; a list is a body that arrives in pieces."""
    pieces = body if isinstance(body, list) else [body]
    incoming = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()
        ],
        "client": ("192.0.2.7", 40000),
    }
    await asyncio.wait_for(gateway(scope, receive, send), 30)
    return Answer(sent)


def signed_form(
    body: str,
    *,
    service: str = "ec2",
    region: str = REGIONS[0],
    key: str = ACCESS_KEY,
    secret: str = SECRET,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The arguments of ``ask`` for a form, signed by botocore."""
    content_type = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", "http://gateway.test/", {**content_type, **(headers or {})}, body)
    SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
    return {
        "method": "POST",
        "headers": {"Host": "gateway.test", **dict(request.headers.items())},
        "body": body.encode(),
    }


def signed_object(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes, *, payload: str | None = None
) -> dict[str, Any]:
    """The arguments of ``ask`` for a request to S3, signed by botocore; path and query are percent-encoded already.

    ``payload`` is signed in place of the body's hash.
    """

    class Signer(S3SigV4Auth):
        def payload(self, request: AWSRequest) -> str:
            return payload or super().payload(request)

    request = AWSRequest(method, f"http://gateway.test{path}?{query}", headers, body)
    Signer(Credentials(ACCESS_KEY, SECRET), "s3", REGIONS[0]).add_auth(request)
    signed = {"Host": "gateway.test", **dict(request.headers.items())}
    return {"method": method, "path": path, "query": query, "headers": signed, "body": body}
