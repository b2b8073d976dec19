"""The members of the REST protocols that travel outside the body: in the path, the query string, headers, the status."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from pileus.aws.http import HttpRequest
from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol import scalars
from pileus.base.errors import ServiceError

Invalid = Callable[[str, str, str], ServiceError]
"""The error for a parameter's wire name, its text, and what was expected."""

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_QUOTED = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*))\s*(?:,|$)')


def query_fields(query: str) -> dict[str, list[str]]:
    """The parameters of a query string, decoded; bytes that are not UTF-8 become U+FFFD."""
    found: dict[str, list[str]] = {}
    for field in query.split("&"):
        name, _, value = field.partition("=")
        if name:
            found.setdefault(unquote(name.replace("+", " ")), []).append(unquote(value.replace("+", " ")))
    return found


class RequestBindings:
    """Reads one input shape's members from everywhere but the body."""

    def __init__(self, model: ServiceModel, shape: Shape, invalid: Invalid) -> None:
        self._invalid = invalid
        members = {name: model.shape(ref) for name, ref in shape.members.items() if ref.location}
        self._uri = self._located("uri", members, model)
        self._query = self._located("querystring", members, model)
        self._header = self._located("header", members, model)
        self._prefixes = [
            (name, (member.location_name or "").lower())
            for name, member in members.items()
            if member.location == "headers"
        ]
        self._query_names = {wire for wire, _, member, _ in self._query if member.type != "map"}

    def _located(
        self, location: str, members: Mapping[str, Shape], model: ServiceModel
    ) -> list[tuple[str, str, Shape, Callable[[str], Any]]]:
        """Wire name, name, shape, and reader of a single text."""
        found: list[tuple[str, str, Shape, Callable[[str], Any]]] = []
        for name, member in members.items():
            if member.location != location:
                continue
            scalar = model.shape(member.member) if member.member else member
            found.append(
                (member.location_name or name, name, member, self._reader(scalar, member.location_name or name))
            )
        return found

    def _reader(self, shape: Shape, wire: str) -> Callable[[str], Any]:
        convert = _read_json if shape.jsonvalue else scalars.READERS.get(shape.type, scalars.read_string)

        def read(text: str) -> Any:
            try:
                return convert(text)
            except ValueError:
                raise self._invalid(wire, text[:200], scalars.EXPECTED.get(shape.type, "text")) from None

        return read

    def read(self, request: HttpRequest, path_params: Mapping[str, str]) -> dict[str, Any]:
        """The members that the request has."""
        result = {name: read(path_params[wire]) for wire, name, _, read in self._uri}
        if self._query:
            fields = query_fields(request.query)
            for wire, name, member, read in self._query:
                if member.type == "map":
                    result[name] = {key: values[0] for key, values in fields.items() if key not in self._query_names}
                elif wire in fields:
                    texts = fields[wire]
                    result[name] = [read(text) for text in texts] if member.type == "list" else read(texts[0])
        headers = request.headers
        for wire, name, member, read in self._header:
            if wire in headers:
                text = _from_latin1(headers[wire])
                result[name] = [read(part) for part in _split(text)] if member.type == "list" else read(text)
        for name, prefix in self._prefixes:
            found = {key[len(prefix) :]: _from_latin1(headers[key]) for key in headers if key.startswith(prefix)}
            if found:
                result[name] = found
        return result


def _split(text: str) -> list[str]:
    """The elements of a list in a header, some of them quoted."""
    parts = [
        re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2].strip()
        for match in _QUOTED.finditer(text)
    ]
    return [part for part in parts if part]


def _read_json(text: str) -> Any:
    try:
        return msgspec.json.decode(base64.b64decode(text, validate=True))
    except (msgspec.DecodeError, binascii.Error, RecursionError) as error:
        raise ValueError(text[:200]) from error


def _from_latin1(text: str) -> str:
    """Headers arrive as Latin-1; clients that write other letters write them in UTF-8."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode()
    except UnicodeError:
        return text


class ResponseBindings:
    """Writes one output shape's members that are no part of the body."""

    def __init__(self, model: ServiceModel, shape: Shape) -> None:
        self._model = model
        self._members = {name: model.shape(ref) for name, ref in shape.members.items() if ref.location}

    def split(self, result: Mapping[str, Any]) -> tuple[int | None, list[tuple[str, str]], dict[str, Any]]:
        """The status where the result names one, the headers, and the members that are left for the body."""
        status: int | None = None
        headers: list[tuple[str, str]] = []
        rest: dict[str, Any] = {}
        for name, value in result.items():
            member = self._members.get(name)
            if value is None:
                continue
            if member is None:
                rest[name] = value
            elif member.location == "statusCode":
                status = value
            elif member.location == "headers":
                prefix = member.location_name or ""
                headers.extend((prefix + key, header_text(text)) for key, text in value.items())
            else:
                headers.append((member.location_name or name, header_text(self._text(member, value))))
        return status, headers, rest

    def _text(self, shape: Shape, value: Any) -> str:
        if shape.jsonvalue:
            return base64.b64encode(msgspec.json.encode(value)).decode("ascii")
        match shape.type:
            case "list":
                assert shape.member
                member = self._model.shape(shape.member)
                return ",".join(_quote(self._text(member, item)) for item in value)
            case "timestamp":
                return scalars.TIMESTAMP_FORMATS[(shape.timestamp_format or "rfc822").lower()](value)
            case "boolean":
                return scalars.write_boolean(value)
            case "float" | "double":
                return scalars.write_float(value)
            case "blob":
                return scalars.write_blob(value)
            case _:
                return str(value)


def _quote(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"' if "," in text or '"' in text else text


def header_text(text: str) -> str:
    """A value as it may be sent: no line can be smuggled in, and what Latin-1 lacks goes out in UTF-8."""
    return _CONTROL.sub(" ", text).encode().decode("latin-1")
