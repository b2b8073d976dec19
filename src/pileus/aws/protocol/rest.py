"""The rest-json and rest-xml protocols: methods, paths and headers around a JSON or XML body."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, ServiceModel, Shape
from pileus.aws.protocol import s3, scalars, xml_reader
from pileus.aws.protocol.bindings import RequestBindings, ResponseBindings
from pileus.aws.protocol.constraints import Constraints
from pileus.aws.protocol.errors import InvalidArgument, SerializationException, UnknownOperation
from pileus.aws.protocol.faults import Fault
from pileus.aws.protocol.json import JSON_LEAVES, decode, json_leaf
from pileus.aws.protocol.tree_reader import TreeReader
from pileus.aws.protocol.tree_writer import TreeWriter
from pileus.aws.protocol.wire import EMPTY, Parse, Serialise
from pileus.aws.protocol.xml_writer import DECLARATION, XmlWriter, escape
from pileus.base.errors import ServiceError

_JSON = "application/json"
_XML = "application/xml"
_RAW = "binary/octet-stream"


class RestWire(ABC):
    """What both protocols share: where a member goes. Subclasses know the body."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model

    def parser(self, operation: OperationModel) -> Parse:
        shape = self._model.shape(operation.input) if operation.input else EMPTY
        bindings = RequestBindings(self._model, shape, self._invalid)
        read_body, enforce = self._body_parser(shape), self._constraints(shape)

        def parse(request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
            params = bindings.read(request, path_params)
            params.update(read_body(request.body))
            enforce(params)
            return params

        return parse

    def _body_parser(self, shape: Shape) -> Callable[[bytes], dict[str, Any]]:
        payload = shape.payload
        if payload is None:
            if all(ref.location for ref in shape.members.values()):
                return lambda body: {}
            return self._read_document(shape)
        member = self._model.shape(shape.members[payload])
        if member.type == "blob" or member.eventstream:
            return lambda body: {payload: body} if body else {}
        if member.type == "string":
            return lambda body: {payload: self._read_text(payload, body)} if body else {}
        read = self._read_document(member)
        return lambda body: {payload: read(body)} if body else {}

    def _read_text(self, name: str, body: bytes) -> str:
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise self._invalid(name, "", "text in UTF-8") from None

    def serialiser(self, operation: OperationModel) -> Serialise:
        shape = self._model.shape(operation.output) if operation.output else EMPTY
        bindings, write_body = ResponseBindings(self._model, shape), self._body_writer(operation, shape)
        streaming = shape.payload or ""

        def serialise(result: Mapping[str, Any], request_id: str) -> HttpResponse:
            status, headers, rest = bindings.split(result)
            streamed = rest.pop(streaming, None) if isinstance(rest.get(streaming), AsyncIterator) else None
            content_type, body = write_body(rest)
            if content_type and not any(name.lower() == "content-type" for name, _ in headers):
                headers.append(("Content-Type", content_type))
            headers.extend(self._request_id_headers(request_id))
            return HttpResponse(status or operation.http.response_code, headers, body, streamed)

        return serialise

    def _body_writer(self, operation: OperationModel, shape: Shape) -> Callable[[dict[str, Any]], tuple[str, bytes]]:
        """What makes a body, and its media type, of the members that are not headers."""
        payload = shape.payload
        if payload is None:
            return self._write_document(operation, shape)
        member = self._model.shape(shape.members[payload])
        if member.type == "structure" and not member.eventstream:
            write = self._write_document(operation, member)
            return lambda rest: write(_only(payload, rest)) if rest else ("", b"")

        def write_raw(rest: dict[str, Any]) -> tuple[str, bytes]:
            raw = _only(payload, rest) if rest else b""
            return _RAW, raw.encode() if isinstance(raw, str) else raw

        return write_raw

    def _constraints(self, shape: Shape) -> Callable[[dict[str, Any]], None]:
        return Constraints(self._model, "ValidationException").compile(shape)

    def unknown_operation(self, name: str) -> UnknownOperation:
        return UnknownOperation(f"There is no {name}", code="UnknownOperationException", status=404)

    @abstractmethod
    def _invalid(self, name: str, text: str, expected: str) -> ServiceError: ...

    @abstractmethod
    def _read_document(self, shape: Shape) -> Callable[[bytes], dict[str, Any]]: ...

    @abstractmethod
    def _write_document(self, operation: OperationModel, shape: Shape) -> Callable[[Any], tuple[str, bytes]]: ...

    @abstractmethod
    def _request_id_headers(self, request_id: str) -> list[tuple[str, str]]: ...

    @abstractmethod
    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        """An error answer."""


def _only(name: str, rest: dict[str, Any]) -> Any:
    """The payload, which must be the only member left. Raises ``KeyError`` for any other."""
    value = rest.pop(name)
    if rest:
        raise KeyError(next(iter(rest)))
    return value


class RestJsonWire(RestWire):
    """JSON bodies."""

    def __init__(self, model: ServiceModel) -> None:
        super().__init__(model)
        self._reader = TreeReader(model, JSON_LEAVES)
        self._writer = TreeWriter(model, json_leaf)

    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        headers: list[tuple[str, str]] = []
        members: dict[str, Any] = dict(fault.members)
        if fault.shape:
            _, headers, members = ResponseBindings(self._model, fault.shape).split(fault.members)
            members = self._writer.compile(fault.shape)(members)
        headers += [("Content-Type", _JSON), ("x-amzn-errortype", fault.name), *self._request_id_headers(request_id)]
        return HttpResponse(fault.status, headers, msgspec.json.encode(members))

    def _invalid(self, name: str, text: str, expected: str) -> ServiceError:
        return SerializationException(f"Invalid value '{text}' for {name}: it must be {expected}")

    def _read_document(self, shape: Shape) -> Callable[[bytes], dict[str, Any]]:
        read = self._reader.compile(shape)
        return lambda body: read(decode(body))

    def _write_document(self, operation: OperationModel, shape: Shape) -> Callable[[Any], tuple[str, bytes]]:
        write = self._writer.compile(shape)
        return lambda value: (_JSON, msgspec.json.encode(write(value)))

    def _request_id_headers(self, request_id: str) -> list[tuple[str, str]]:
        return [("x-amzn-RequestId", request_id)]


class RestXmlWire(RestWire):
    """XML bodies. S3 has its own form of errors, and checks limits itself, as the other services of this protocol do."""

    def __init__(self, model: ServiceModel) -> None:
        super().__init__(model)
        self._is_s3 = model.name == "s3"
        namespace = s3.NAMESPACE if self._is_s3 else model.metadata.xml_namespace
        self._namespace = f' xmlns="{namespace}"' if namespace else ""
        self._reader = xml_reader.XmlReader(model)
        self._writer = XmlWriter(model, scalars.iso_milliseconds if self._is_s3 else scalars.iso_short)

    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        further = "".join(
            f"<{name}>{escape(str(value))}</{name}>"
            for name, value in fault.members.items()
            if name.lower() != "message" and value is not None
        )
        core = f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>{further}"
        if self._is_s3:
            text = f"<Error>{core}<RequestId>{request_id}</RequestId><HostId>{s3.host_id(request_id)}</HostId></Error>"
        else:
            text = (
                f"<ErrorResponse{self._namespace}><Error><Type>{fault.type}</Type>{core}</Error>"
                f"<RequestId>{request_id}</RequestId></ErrorResponse>"
            )
        headers = [("Content-Type", _XML), *self._request_id_headers(request_id)]
        return HttpResponse(fault.status, headers, _document(text))

    def unknown_operation(self, name: str) -> UnknownOperation:
        if self._is_s3:
            message = "The specified method is not allowed against this resource."
            return UnknownOperation(message, code="MethodNotAllowed", status=405)
        return super().unknown_operation(name)

    def _constraints(self, shape: Shape) -> Callable[[dict[str, Any]], None]:
        return lambda params: None

    def _invalid(self, name: str, text: str, expected: str) -> ServiceError:
        return InvalidArgument(f"Invalid value '{text}' for {name}: it must be {expected}")

    def _read_document(self, shape: Shape) -> Callable[[bytes], dict[str, Any]]:
        read = self._reader.compile(shape)
        return lambda body: read(xml_reader.parse(body)) if body else {}

    def _write_document(self, operation: OperationModel, shape: Shape) -> Callable[[Any], tuple[str, bytes]]:
        if all(ref.location for ref in shape.members.values()):
            return lambda value: _no_body(value) if value else ("", b"")
        if self._is_s3 and operation.name in s3.BARE:
            return self._write_bare(s3.BARE[operation.name])
        root = shape.location_name or shape.shape
        if self._is_s3:
            root = s3.ROOTS.get(operation.name, root)
        content, start, end = self._writer.content(shape), f"<{root}{self._namespace}>", f"</{root}>"
        return lambda value: (_XML, _document(f"{start}{content(value)}{end}"))

    def _write_bare(self, member: str) -> Callable[[Any], tuple[str, bytes]]:
        def write(value: dict[str, Any]) -> tuple[str, bytes]:
            text = escape(value.pop(member, ""))
            if value:
                return _no_body(value)
            return _XML, _document(f"<{member}{self._namespace}>{text}</{member}>")

        return write

    def _request_id_headers(self, request_id: str) -> list[tuple[str, str]]:
        headers = [("x-amz-request-id", request_id)]
        return [*headers, ("x-amz-id-2", s3.host_id(request_id))] if self._is_s3 else headers


def _no_body(rest: Mapping[str, Any]) -> tuple[str, bytes]:
    raise KeyError(next(iter(rest)))


def _document(text: str) -> bytes:
    return f"{DECLARATION}{text}".encode()
