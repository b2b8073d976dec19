"""The query and ec2 protocols: a form in, XML out."""

from collections.abc import Mapping
from typing import Any

from pileus.aws.http import HttpRequest, HttpResponse
from pileus.aws.models import OperationModel, ServiceModel
from pileus.aws.protocol import form, scalars
from pileus.aws.protocol.constraints import Constraints
from pileus.aws.protocol.errors import UnknownOperation
from pileus.aws.protocol.faults import Fault
from pileus.aws.protocol.form_reader import Ec2Reader, QueryReader
from pileus.aws.protocol.wire import EMPTY, Parse, Serialise
from pileus.aws.protocol.xml_writer import DECLARATION, XmlWriter, escape

_CONTENT_TYPE = "text/xml;charset=UTF-8"


class QueryWire:
    """``Action=…&Foo.member.1=…``; answers wrapped in ``<XResponse><XResult>``."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._namespace = model.metadata.xml_namespace
        self._reader = QueryReader(model)
        self._constraints = Constraints(model, "ValidationError")
        self._writer = XmlWriter(model)

    def parser(self, operation: OperationModel) -> Parse:
        shape = self._model.shape(operation.input) if operation.input else EMPTY
        read, enforce = self._reader.compile(shape), self._constraints.compile(shape)

        def parse(request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
            params = read(form.tree(request), "")
            enforce(params)
            return params

        return parse

    def serialiser(self, operation: OperationModel) -> Serialise:
        content = self._writer.content(self._model.shape(operation.output) if operation.output else EMPTY)
        wrapper = operation.output.result_wrapper if operation.output else None
        start = f'{DECLARATION}<{operation.name}Response xmlns="{self._namespace}">' + (
            f"<{wrapper}>" if wrapper else ""
        )
        middle = (f"</{wrapper}>" if wrapper else "") + "<ResponseMetadata><RequestId>"
        end = f"</RequestId></ResponseMetadata></{operation.name}Response>"

        def serialise(result: Mapping[str, Any], request_id: str) -> HttpResponse:
            return xml_response(200, f"{start}{content(result)}{middle}{request_id}{end}", request_id)

        return serialise

    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        members = {**fault.members}
        message = next((members.pop(name) for name in ("message", "Message") if name in members), fault.message)
        further = self._writer.content(fault.shape)(members) if fault.shape else ""
        text = (
            f'{DECLARATION}<ErrorResponse xmlns="{self._namespace}"><Error>'
            f"<Type>{fault.type}</Type><Code>{escape(fault.code)}</Code>"
            f"<Message>{escape(message)}</Message>{further}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return xml_response(fault.status, text, request_id)

    def unknown_operation(self, name: str) -> UnknownOperation:
        version = self._model.metadata.api_version
        return UnknownOperation(f"Could not find operation {name} for version {version}", code="InvalidAction")


class Ec2Wire:
    """``Action=…&Foo.1=…``; answers with ``<requestId>`` first."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        # The model leaves out the slash that the service has always sent, and that old clients look for.
        self._namespace = model.metadata.xml_namespace.rstrip("/") + "/"
        self._reader = Ec2Reader(model)
        self._writer = XmlWriter(model, timestamp=scalars.iso_milliseconds)

    def parser(self, operation: OperationModel) -> Parse:
        read = self._reader.compile(self._model.shape(operation.input) if operation.input else EMPTY)

        def parse(request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
            return read(form.tree(request), "")

        return parse

    def serialiser(self, operation: OperationModel) -> Serialise:
        start = f'{DECLARATION}<{operation.name}Response xmlns="{self._namespace}"><requestId>'
        # Where the model has no result the service says true, and some clients look at it.
        end = f"{'' if operation.output else '<return>true</return>'}</{operation.name}Response>"
        content = self._writer.content(self._model.shape(operation.output) if operation.output else EMPTY)

        def serialise(result: Mapping[str, Any], request_id: str) -> HttpResponse:
            return xml_response(200, f"{start}{request_id}</requestId>{content(result)}{end}", request_id)

        return serialise

    def error(self, fault: Fault, request_id: str) -> HttpResponse:
        text = (
            f"{DECLARATION}<Response><Errors><Error>"
            f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>"
            f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
        return xml_response(fault.status, text, request_id)

    def unknown_operation(self, name: str) -> UnknownOperation:
        return UnknownOperation(f"The action {name} is not valid for this web service.", code="InvalidAction")


def xml_response(status: int, text: str, request_id: str) -> HttpResponse:
    """A whole XML document as an answer."""
    headers = [("Content-Type", _CONTENT_TYPE), ("x-amzn-RequestId", request_id)]
    return HttpResponse(status, headers, text.encode())
