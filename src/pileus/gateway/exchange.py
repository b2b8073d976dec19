"""One request on its way through the gateway's handlers."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.protocol import Service
from pileus.aws.routing import Route
from pileus.aws.signing import Credential
from pileus.gateway.body import Receive
from pileus.operations.call import Call, Identity

if TYPE_CHECKING:
    from pileus.gateway.browser_upload import BrowserUpload
    from pileus.gateway.incoming import IncomingBody

Scope = Mapping[str, Any]
"""ASGI's description of a connection."""


class Exchange:
    """What is known of a request so far: each handler adds its part, and later ones rely on it.

    Attributes:
        request_id: in the answer's headers and body, and in the log. now: when the request came in.
        request: without its body until ``body_read``; afterwards as the client meant it.
        credential: who claims to call; None until it is found. identity: who calls, verified; None before.
        region: a configured one. service: who answers, also when it is with an error; None where that is not known.
        head: the request as it came, without body. incoming: a body that stays on the wire until its operation reads it.
        form: an upload by a browser's form. secure: whether it came over TLS.
    """

    __slots__ = (
        "body_read",
        "call",
        "credential",
        "error_code",
        "form",
        "head",
        "identity",
        "incoming",
        "now",
        "receive",
        "region",
        "request",
        "request_id",
        "route",
        "secure",
        "service",
        "started",
    )

    call: Call
    credential: Credential | None
    identity: Identity | None
    region: str
    route: Route
    service: Service | None

    def __init__(self, scope: Scope, receive: Receive, *, request_id: str, now: datetime, started: float) -> None:
        """``started`` is the monotonic clock's reading, for the duration in the log."""
        self.receive = receive
        self.request_id = request_id
        self.now = now
        self.started = started
        self.request = self.head = _head(scope)
        self.secure = scope.get("scheme") == "https"
        self.incoming: IncomingBody | None = None
        self.form: BrowserUpload | None = None
        self.body_read = False
        self.credential = None
        self.identity = None
        self.service = None
        self.error_code = ""

    @property
    def bucket(self) -> str:
        """The bucket that a request to S3 names; empty when it names none."""
        return self.route.path_params.get("Bucket", "") if self.service is not None and hasattr(self, "route") else ""


def _head(scope: Scope) -> HttpRequest:
    raw_path = scope.get("raw_path") or scope["path"].encode()
    client = scope.get("client")
    state: Mapping[str, str] = scope.get("state", {})
    return HttpRequest(
        method=scope["method"],
        path=raw_path.decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=Headers.from_raw(scope["headers"]),
        body=b"",
        source_address=client[0] if client else "",
        source_vpc=state.get("vpc", ""),
        source_endpoint=state.get("endpoint", ""),
    )
