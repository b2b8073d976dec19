"""The gateway: the ASGI application that uvicorn serves. Built by ``pileus.cmd``, which gives it keys, dispatch and limits.

Below it lie ``pileus.aws`` (signatures, routing, protocols) and whatever ``dispatch`` leads to; it knows no service.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from pileus import __version__
from pileus.aws.http import HttpResponse
from pileus.aws.routing import route
from pileus.aws.signing import credential_of
from pileus.base.clock import Clock
from pileus.base.ids import new_request_id
from pileus.gateway import body, cors, faults
from pileus.gateway.authentication import Authenticator, Keyring
from pileus.gateway.body import ClientGone, Receive
from pileus.gateway.exchange import Exchange, Scope
from pileus.gateway.throttle import Throttle
from pileus.operations.call import Call, Dispatch

Send = Callable[[dict[str, Any]], Awaitable[None]]
"""ASGI's sink of messages."""

_PIECE = 1024 * 1024
_HEALTHY = msgspec.json.encode({"status": "ok", "version": __version__})
_log = logging.getLogger(__name__)


class Gateway:
    """One port for all services and regions. It keeps nothing between requests but the throttle's buckets."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        dispatch: Dispatch,
        regions: Sequence[str],
        default_region: str,
        clock: Clock,
        throttle: Throttle | None = None,
        body_patience: float = 300.0,
    ) -> None:
        """``body_patience`` is how many seconds a client may take to send a body; no ``throttle`` means no limits."""
        self._authenticator = Authenticator(keyring, regions, default_region)
        self._dispatch = dispatch
        self._clock = clock
        self._throttle = throttle
        self._body_patience = body_patience
        self._handlers = (
            self._answer_preflight,
            self._answer_health,
            self._read_body,
            self._find_credential,
            self._find_operation,
            self._authenticate,
            self._parse,
            self._admit,
            self._perform,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry point."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: the first handler that has an answer ends its way, and so does an exception."""
        now, started = self._clock.now(), self._clock.monotonic()
        exchange = Exchange(scope, receive, request_id=new_request_id(), now=now, started=started)
        try:
            response = await self._answer(exchange)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - here, and only here, every error becomes an answer
            response = faults.answer(exchange, error)
        await _send(exchange, response, send)
        self._log(exchange, response)

    async def _answer(self, exchange: Exchange) -> HttpResponse:
        for handler in self._handlers:
            response = await handler(exchange)
            if response is not None:
                return response
        raise AssertionError("the last handler always has an answer")

    async def _answer_preflight(self, exchange: Exchange) -> HttpResponse | None:
        return cors.preflight(exchange.request)

    async def _answer_health(self, exchange: Exchange) -> HttpResponse | None:
        """``GET /health`` without a signature: for load balancers and ``pileus status``."""
        request = exchange.request
        if request.method != "GET" or request.path != "/health" or request.query or "authorization" in request.headers:
            return None
        return HttpResponse(200, [("Content-Type", "application/json")], _HEALTHY)

    async def _read_body(self, exchange: Exchange) -> None:
        data = await body.read(exchange.request.headers, exchange.receive, self._body_patience)
        exchange.body_read = True
        if data:
            exchange.request = msgspec.structs.replace(exchange.request, body=data)

    async def _find_credential(self, exchange: Exchange) -> None:
        exchange.credential = credential_of(exchange.request)

    async def _find_operation(self, exchange: Exchange) -> None:
        """Before authentication, so that a refusal is told in the protocol of the service that was asked."""
        assert exchange.credential is not None
        exchange.route = route(exchange.request, exchange.credential.service or None)
        exchange.service = exchange.route.service

    async def _authenticate(self, exchange: Exchange) -> None:
        assert exchange.credential is not None
        exchange.identity, exchange.region, exchange.request = self._authenticator.authenticate(
            exchange.request, exchange.credential, exchange.route.service, exchange.now
        )

    async def _parse(self, exchange: Exchange) -> None:
        assert exchange.identity is not None
        found, request = exchange.route, exchange.request
        headers = request.headers
        exchange.call = Call(
            service=found.service.name,
            operation=found.operation,
            region=exchange.region,
            params=found.service.operation(found.operation).parse(request, found.path_params),
            identity=exchange.identity,
            request_id=exchange.request_id,
            now=exchange.now,
            source_address=request.source_address,
            # Browsers don't let a page choose its User-Agent: there the SDK has a header of its own.
            user_agent=headers.get("x-amz-user-agent") or headers.get("user-agent", ""),
        )

    async def _admit(self, exchange: Exchange) -> None:
        if self._throttle is not None:
            self._throttle.admit(exchange.call)

    async def _perform(self, exchange: Exchange) -> HttpResponse:
        result = await self._dispatch(exchange.call)
        found = exchange.route
        return found.service.operation(found.operation).serialise(result, exchange.request_id)

    def _log(self, exchange: Exchange, response: HttpResponse) -> None:
        """One line a request; never parameters, which may hold secrets."""
        identity = exchange.identity
        _log.info(
            "request",
            extra={
                "request_id": exchange.request_id,
                "service": exchange.service.name if exchange.service else "",
                "operation": exchange.route.operation if exchange.service else "",
                "account": identity.account if identity else "",
                "status": response.status,
                "code": exchange.error_code,
                "milliseconds": round((self._clock.monotonic() - exchange.started) * 1000, 2),
            },
        )


async def _send(exchange: Exchange, response: HttpResponse, send: Send) -> None:
    headers = {name.lower(): value for name, value in response.headers}
    headers |= cors.answer_headers(exchange.request)
    if "x-amz-request-id" not in headers:  # S3's name for it
        headers["x-amzn-requestid"] = exchange.request_id
    if response.status not in {204, 304}:
        headers.setdefault(
            "content-length", str(len(response.body))
        )  # an answer to HEAD gives the length of what it left out
    if response.status >= 400 and not exchange.body_read:
        headers["connection"] = "close"  # the rest of a body that was refused need not be received
    await send({"type": "http.response.start", "status": response.status, "headers": _encoded(headers)})
    # In pieces, so that a slow reader of a large answer is waited for instead of buffered for.
    start, body = 0, memoryview(response.body)
    while len(body) - start > _PIECE:
        await send({"type": "http.response.body", "body": body[start : start + _PIECE], "more_body": True})
        start += _PIECE
    await send({"type": "http.response.body", "body": body[start:] if start else response.body})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _live(receive: Receive, send: Send) -> None:
    """Nothing is opened or closed here: that is the business of whoever built the gateway."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
