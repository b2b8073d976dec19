"""The one place where an exception becomes an answer."""

import logging

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.protocol import Service, load_service
from pileus.aws.protocol.xml_writer import escape
from pileus.aws.routing import SIGNING_NAMES, route
from pileus.aws.signing import Family, SignatureRefused, family_of
from pileus.base.errors import ServiceError
from pileus.gateway.exchange import Exchange

_log = logging.getLogger(__name__)
_INTERNAL = ServiceError("An internal error has occurred", code="InternalError", status=500)


def answer(exchange: Exchange, error: Exception) -> HttpResponse:
    """The error in the wire form of the service that was asked.

    Anything but a ``ServiceError`` is a fault of ours: it goes to the log, with the request id, and the client learns no more
    than that.
    """
    if not isinstance(error, ServiceError):
        _log.error("request failed", exc_info=error, extra={"request_id": exchange.request_id})
        error = _INTERNAL
    service = exchange.service or _service_asked(exchange)
    if isinstance(error, SignatureRefused):
        error = error.told_by(family_of(service.name, service.protocol) if service else Family.QUERY)
    exchange.error_code = error.code
    if service is None:
        return _plain(error, exchange.request_id)
    if error.status == 304:
        return HttpResponse(304, [*error.headers.items(), ("x-amz-request-id", exchange.request_id)], b"")
    fields = error.fields
    if service.name == "s3":
        fields = {**fields, "Resource": exchange.head.path}
    response = service.serialise_error(error.code, error.message, error.status, exchange.request_id, fields)
    response.headers.extend(error.headers.items())
    return response


def _service_asked(exchange: Exchange) -> Service | None:
    """Who should answer a request that got no route; None when not even a guess is possible."""
    credential, request = exchange.credential, exchange.request
    name = SIGNING_NAMES.get(credential.service) if credential else None
    if name is not None:
        return _speaking(name, _protocol_spoken(request))
    try:
        return route(request, None).service
    except ServiceError:
        return None


def _protocol_spoken(request: HttpRequest) -> str | None:
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
        return "smithy-rpc-v2-cbor"
    if "x-amz-target" in request.headers:
        return "json"
    return "query" if "Action=" in request.query or b"Action=" in request.body else None


def _speaking(name: str, protocol: str | None) -> Service:
    try:
        return load_service(name, protocol)
    except LookupError:
        return load_service(name)


def _plain(error: ServiceError, request_id: str) -> HttpResponse:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<ErrorResponse><Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return HttpResponse(error.status, [("Content-Type", "text/xml;charset=UTF-8")], text.encode())
