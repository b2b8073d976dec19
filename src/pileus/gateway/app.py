"""The gateway: the ASGI application that uvicorn serves. Built by ``pileus.cmd``, which gives it keys, dispatch and limits.

Below it lie ``pileus.aws`` (signatures, routing, protocols) and whatever ``dispatch`` leads to; it knows no service.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from pileus import __version__
from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.routing import SIGNING_NAMES, Route, route
from pileus.aws.s3_hosts import path_style, s3_region
from pileus.aws.signing import Credential, Kind, Reason, SignatureRefused, credential_of
from pileus.base.clock import Clock
from pileus.base.ids import new_request_id
from pileus.gateway import body, browser_upload, cors, faults
from pileus.gateway.authentication import Authenticator, Keyring
from pileus.gateway.body import Receive
from pileus.gateway.cors import CrossOrigin
from pileus.gateway.exchange import Exchange, Scope
from pileus.gateway.incoming import IncomingBody
from pileus.gateway.outgoing import send_stream
from pileus.gateway.throttle import Throttle
from pileus.operations.call import ANONYMOUS, Call, ClientGone, Dispatch, Reply

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
        streams: Collection[tuple[str, str]] = frozenset(),
        public: Collection[str] = frozenset(),
        origins: CrossOrigin | None = None,
    ) -> None:
        """Wires it up.

        Args:
            throttle: none means no limits.
            body_patience: how many seconds a client may take to send a body; a streamed one, for each part of it.
            streams: service and operation of those whose bodies are handed on while they arrive.
            public: the services that answer unsigned requests. origins: what buckets allow to pages of other origins.
        """
        self._authenticator = Authenticator(keyring, regions, default_region)
        self._dispatch = dispatch
        self._clock = clock
        self._throttle = throttle
        self._body_patience = body_patience
        self._streams = streams
        self._streaming_services = frozenset(service for service, _ in streams)
        self._public = public
        self._origins = origins
        self._handlers = (
            self._answer_preflight,
            self._answer_health,
            self._look_for_stream,
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
        if exchange.incoming is not None and not exchange.incoming.ended:
            await exchange.incoming.drain()
            exchange.body_read = exchange.incoming.ended
        await self._send(exchange, response, send)
        self._log(exchange, response)

    async def _answer(self, exchange: Exchange) -> HttpResponse:
        for handler in self._handlers:
            response = await handler(exchange)
            if response is not None:
                return response
        raise AssertionError("the last handler always has an answer")

    async def _answer_preflight(self, exchange: Exchange) -> HttpResponse | None:
        return await cors.preflight(path_style(exchange.request), self._origins)

    async def _answer_health(self, exchange: Exchange) -> HttpResponse | None:
        """``GET /health`` without a signature: for load balancers and ``pileus status``."""
        request = exchange.request
        if request.method != "GET" or request.path != "/health" or request.query or "authorization" in request.headers:
            return None
        return HttpResponse(200, [("Content-Type", "application/json")], _HEALTHY)

    async def _look_for_stream(self, exchange: Exchange) -> None:
        """A body that its operation takes as a stream stays on the wire; what can be refused by the head alone is, first."""
        request = exchange.request
        if request.method not in {"PUT", "POST"} or not self._streams:
            return
        if browser_upload.is_one(path_style(request)) and "s3" in self._public:
            await browser_upload.open_form(exchange, self._authenticator, self._body_patience)
            return
        credential = _claim(request)
        if credential is None and (request.method == "POST" or not self._public):
            return  # a form of a query service; who signed it may stand in it
        if credential is not None and SIGNING_NAMES.get(credential.service) not in self._streaming_services:
            if credential.kind is Kind.HEADER:  # of the other kinds a part may stand in the body
                exchange.credential = credential
            return
        exchange.credential = credential
        found = self._route(exchange)
        if (found.service.name, found.operation) in self._streams:
            self._authenticate_stream(exchange)

    def _authenticate_stream(self, exchange: Exchange) -> None:
        exchange.identity, exchange.region, exchange.request, reader = self._authenticator.open(
            exchange.request, exchange.credential, exchange.route.service, exchange.now
        )
        exchange.incoming = IncomingBody(exchange.receive, reader, exchange.head.headers, self._body_patience)

    async def _read_body(self, exchange: Exchange) -> None:
        if exchange.incoming is not None:
            return
        data = await body.read(exchange.request.headers, exchange.receive, self._body_patience)
        exchange.body_read = True
        if data:
            exchange.request = msgspec.structs.replace(exchange.request, body=data)

    async def _find_credential(self, exchange: Exchange) -> None:
        if exchange.credential is not None or exchange.identity is not None:
            return
        try:
            exchange.credential = credential_of(exchange.request)
        except SignatureRefused as refusal:
            if refusal.reason is not Reason.MISSING or not self._public:
                raise
            if self._route(exchange).service.name not in self._public:
                exchange.service = None
                raise

    async def _find_operation(self, exchange: Exchange) -> None:
        """Before authentication, so that a refusal is told in the protocol of the service that was asked."""
        if exchange.service is None:
            self._route(exchange)

    def _route(self, exchange: Exchange) -> Route:
        credential = exchange.credential
        exchange.route = route(exchange.request, (credential.service or None) if credential else None)
        exchange.service = exchange.route.service
        return exchange.route

    async def _authenticate(self, exchange: Exchange) -> None:
        if exchange.identity is not None:
            return
        if exchange.credential is None:
            exchange.identity, exchange.region = ANONYMOUS, self._authenticator.default_region
            return
        exchange.identity, exchange.region, exchange.request = self._authenticator.authenticate(
            exchange.request, exchange.credential, exchange.route.service, exchange.now
        )

    async def _parse(self, exchange: Exchange) -> None:
        assert exchange.identity is not None
        if exchange.form is not None:
            exchange.call = exchange.form.call(exchange)
            return
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
            source_vpc=request.source_vpc,
            source_endpoint=request.source_endpoint,
            # Browsers don't let a page choose its User-Agent: there the SDK has a header of its own.
            user_agent=headers.get("x-amz-user-agent") or headers.get("user-agent", ""),
            body=exchange.incoming,
            secure=exchange.secure,
            referer=headers.get("referer", ""),
            host_region=s3_region(request) if found.service.name == "s3" else "",
        )

    async def _admit(self, exchange: Exchange) -> None:
        if self._throttle is not None:
            self._throttle.admit(exchange.call)

    async def _perform(self, exchange: Exchange) -> HttpResponse:
        result = await self._dispatch(exchange.call)
        if exchange.form is not None:
            return exchange.form.answer(exchange, result)
        found = exchange.route
        reply = result if isinstance(result, Reply) else Reply(result=result)
        response = found.service.operation(found.operation).serialise(reply.result, exchange.request_id)
        response.headers.extend(reply.headers.items())
        return response if reply.status is None else msgspec.structs.replace(response, status=reply.status)

    async def _send(self, exchange: Exchange, response: HttpResponse, send: Send) -> None:
        await _send(exchange, response, send, await cors.answer_headers(exchange, self._origins))

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


def _claim(request: HttpRequest) -> Credential | None:
    """Who signed it, as far as the head tells."""
    try:
        return credential_of(request)
    except SignatureRefused as refusal:
        if refusal.reason is Reason.MISSING:
            return None
        raise


async def _send(exchange: Exchange, response: HttpResponse, send: Send, further: Mapping[str, str]) -> None:
    headers = {name.lower(): value for name, value in response.headers}
    headers |= further
    if "x-amz-request-id" not in headers:  # S3's name for it
        headers["x-amzn-requestid"] = exchange.request_id
    if response.status not in {204, 304} and response.stream is None:
        headers.setdefault(
            "content-length", str(len(response.body))
        )  # an answer to HEAD gives the length of what it left out
    if response.status >= 400 and not exchange.body_read:
        headers["connection"] = "close"  # the rest of a body that was refused need not be received
    await send({"type": "http.response.start", "status": response.status, "headers": _encoded(headers)})
    if response.stream is not None:
        await send_stream(response.stream, exchange.receive, send)
        return
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
