"""Cross-origin requests: what lets pages in a browser, the console's among them, call the API.

Any origin may call the services: authority comes from the signature, never from cookies, so another page has nothing to
borrow. A bucket of S3 says itself which origins may do what.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import unquote

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.gateway.exchange import Exchange

_ALLOWED_HEADERS = ", ".join(
    (
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-type",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-target",
        "x-amz-user-agent",
        "x-amzn-query-mode",
    )
)
_EXPOSED_HEADERS = "x-amzn-requestid, x-amz-request-id, x-amz-id-2, x-amzn-errortype, x-amzn-query-error, date, etag"
_FOR_A_DAY = "86400"


class CrossOrigin(Protocol):
    """Knows the CORS configurations of buckets. Implemented by ``pileus.services.s3``."""

    async def allowed(
        self, bucket: str, origin: str, method: str, headers: Sequence[str] | None
    ) -> Mapping[str, str] | None:
        """The answer's headers by lower-case name; empty where the bucket does not allow it; None: there is no such bucket.

        ``headers`` are those that the browser asks about, None in an actual request.
        """
        ...


async def preflight(request: HttpRequest, origins: CrossOrigin | None) -> HttpResponse | None:
    """The answer to a browser that asks before it sends; None for every other request. ``request`` in path style."""
    headers = request.headers
    if request.method != "OPTIONS":
        return None
    bucket = unquote(request.path.split("/")[1]) if request.path.startswith("/") else ""
    if "access-control-request-method" not in headers or "origin" not in headers:
        return HttpResponse(400, [("Content-Type", "application/xml")], _INSUFFICIENT) if bucket and origins else None
    if bucket and origins is not None:
        asked = [name.strip() for name in headers.get("access-control-request-headers", "").split(",") if name.strip()]
        method = headers["access-control-request-method"]
        allowed = await origins.allowed(bucket, headers.get("origin", ""), method, asked)
        if allowed is not None:
            return HttpResponse(200 if allowed else 403, [*allowed.items()], b"" if allowed else _FORBIDDEN)
    return HttpResponse(
        200,
        [
            ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
            ("Access-Control-Max-Age", _FOR_A_DAY),
            ("Access-Control-Allow-Origin", "*"),
        ],
        b"",
    )


_INSUFFICIENT = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>BadRequest</Code><Message>Insufficient information. Origin request'
    b" header needed.</Message></Error>"
)
_FORBIDDEN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessForbidden</Code><Message>CORSResponse: This CORS request is'
    b" not allowed. This is usually because the evaluation of Origin, request method / Access-Control-Request-Method or"
    b" Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.</Message></Error>"
)


async def answer_headers(exchange: Exchange, origins: CrossOrigin | None) -> Mapping[str, str]:
    """What an answer to another origin carries, by lower-case name, so that its page may read it."""
    request = exchange.head
    if "origin" not in request.headers or request.method == "OPTIONS":
        return {}
    if origins is not None and exchange.service is not None and exchange.service.name == "s3" and exchange.bucket:
        method = request.headers.get("access-control-request-method", request.method)
        return await origins.allowed(exchange.bucket, request.headers["origin"], method, None) or {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": _EXPOSED_HEADERS}
