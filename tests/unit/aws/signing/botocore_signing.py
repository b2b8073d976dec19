"""Requests signed by botocore's own signers, as they would arrive here."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.signing import VerifiedBody, credential_of, verify

ACCESS_KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "ec2.eu-west-1.example.test:8443"


def signed(
    signer: type,
    *args: Any,
    method: str = "GET",
    url: str = "/",
    headers: Iterable[tuple[str, str]] = (),
    data: Any = b"",
    params: Any = None,
    token: str | None = None,
    scheme: str = "http",
    **kwargs: Any,
) -> HttpRequest:
    """A request after ``signer(credentials, *args, **kwargs)`` has signed it."""
    request = AWSRequest(method, f"{scheme}://{HOST}{url}", dict(headers), data, params or {})
    signer(Credentials(ACCESS_KEY, SECRET, token), *args, **kwargs).add_auth(request)
    return arrived(request)


def arrived(request: AWSRequest) -> HttpRequest:
    """What a server sees of a request that botocore has prepared."""
    prepared = request.prepare()
    parts = urlsplit(prepared.url)
    body = prepared.body or b""
    fields = [(name, _text(value)) for name, value in prepared.headers.items()]
    return HttpRequest(
        method=prepared.method,
        path=parts.path,
        query=parts.query,
        headers=Headers([("host", parts.netloc), *fields]),
        body=body.encode() if isinstance(body, str) else body,
    )


def changed(
    request: HttpRequest, headers: Iterable[tuple[str, str]] = (), without: str = "", **changes: Any
) -> HttpRequest:
    """The request with some of its parts and header fields replaced."""
    fields = {name: value for name, value in request.headers.items() if name != without}
    values: dict[str, Any] = {name: getattr(request, name) for name in HttpRequest.__struct_fields__}
    return HttpRequest(**(values | {"headers": Headers((fields | dict(headers)).items())} | changes))


def verified(request: HttpRequest, secret: str = SECRET) -> VerifiedBody:
    """Verifies at the moment at which the request was signed."""
    credential = credential_of(request)
    assert credential.signed_at is not None
    return verify(request, credential, secret, credential.signed_at)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
