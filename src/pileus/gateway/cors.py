"""Cross-origin requests: what lets the AWS SDK for JavaScript in a browser, the console's, call the API.

Any origin may: authority comes from the signature, never from cookies, so another page has nothing to borrow.
"""

from pileus.aws.http import HttpRequest, HttpResponse

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


def preflight(request: HttpRequest) -> HttpResponse | None:
    """The answer to a browser that asks before it sends; None for every other request."""
    if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
        return None
    headers = [
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
        ("Access-Control-Max-Age", _FOR_A_DAY),
    ]
    return HttpResponse(200, headers, b"")


def answer_headers(request: HttpRequest) -> dict[str, str]:
    """What every answer to another origin carries, by lower-case name, so that its page may read it."""
    if "origin" not in request.headers:
        return {}
    return {"access-control-allow-origin": "*", "access-control-expose-headers": _EXPOSED_HEADERS}
