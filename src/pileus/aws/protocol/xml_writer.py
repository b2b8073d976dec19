"""Writes results as XML, for the ec2, query and rest-xml protocols. The hot path of every describe call.

A writer takes a value and gives text; a structure's writer walks the members that the result has, never the model.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pileus.aws.models import ServiceModel, Shape, XmlNamespace
from pileus.aws.protocol import scalars
from pileus.aws.protocol.fragment import Fragment, fragments
from pileus.aws.protocol.lazy import Compiled

Write = Callable[[Any], str]

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
"""What every document begins with."""

# Beside the markup: a carriage return would be read back as a line feed, and what XML 1.0 can't hold at all.
_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_find_special = _SPECIAL.search
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}


def escape(text: str) -> str:
    """Text as it may stand in an element or an attribute. What XML can't hold becomes U+FFFD."""
    if _find_special(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text)


class XmlWriter:
    """Compiles writers for one service.

    ``timestamp`` writes those timestamps whose format the model leaves open.
    """

    def __init__(self, model: ServiceModel, timestamp: Callable[[Any], str] = scalars.iso_short) -> None:
        self._model = model
        self._timestamp = timestamp
        self._contents: dict[str, Write] = {}

    def element(self, shape: Shape, name: str) -> Write:
        """A writer of whole elements ``<name>…</name>``; of several, or none, for flattened lists and maps."""
        match shape.type:
            case "structure":
                return self._structure(shape, name)
            case "list":
                return self._list(shape, name)
            case "map":
                return self._map(shape, name)
            case _:
                return self._scalar(shape, name)

    def content(self, shape: Shape) -> Write:
        """A writer of what is inside a structure's element; one for all places where the shape is used."""
        known = self._contents.get(shape.shape)
        if known is not None:
            return known

        def compile_member(name: str) -> Write:
            member = self._model.shape(shape.members[name])
            return self.element(member, self._member_name(member, name))

        members = Compiled(compile_member)

        def write(value: Any) -> str:
            if type(value) is Fragment:
                return fragments.render(value, write)
            return "".join([members[name](item) for name, item in value.items() if item is not None])

        self._contents[shape.shape] = write
        return write

    def _member_name(self, shape: Shape, name: str) -> str:
        if shape.type == "list" and shape.flattened:
            assert shape.member
            return self._model.shape(shape.member).location_name or shape.location_name or name
        return shape.location_name or name

    def _structure(self, shape: Shape, name: str) -> Write:
        attributes = {member: ref.location_name or member for member, ref in shape.members.items() if ref.xml_attribute}
        content = self.content(shape)
        start, end = f"<{name}{namespace_declaration(shape)}", f"</{name}>"
        if not attributes:
            return lambda value: f"{start}>{content(value)}{end}"

        def write(value: Mapping[str, Any]) -> str:
            given = "".join(
                f' {wire}="{escape(value[member])}"' for member, wire in attributes.items() if member in value
            )
            rest = {member: item for member, item in value.items() if member not in attributes}
            return f"{start}{given}>{content(rest)}{end}"

        return write

    def _list(self, shape: Shape, name: str) -> Write:
        assert shape.member
        member = self._model.shape(shape.member)
        if shape.flattened:
            item = self.element(member, name)
            return lambda value: "".join(map(item, value))
        item = self.element(member, member.location_name or "member")
        start, end, empty = f"<{name}>", f"</{name}>", f"<{name}/>"
        # One join: these are the megabytes of a large answer, which are better not copied once more.
        return lambda value: "".join([start, *map(item, value), end]) if value else empty

    def _map(self, shape: Shape, name: str) -> Write:
        assert shape.key and shape.value
        key_shape, value_shape = self._model.shape(shape.key), self._model.shape(shape.value)
        key = self.element(key_shape, key_shape.location_name or "key")
        value = self.element(value_shape, value_shape.location_name or "value")
        entry = name if shape.flattened else "entry"
        start, end = ("", "") if shape.flattened else (f"<{name}>", f"</{name}>")

        def write(items: Mapping[str, Any]) -> str:
            pairs = [f"<{entry}>{key(k)}{value(v)}</{entry}>" for k, v in items.items()]
            return f"{start}{''.join(pairs)}{end}"

        return write

    def _scalar(self, shape: Shape, name: str) -> Write:
        start, end = f"<{name}>", f"</{name}>"
        match shape.type:
            case "string" | "character":
                # Most texts need no escaping; a call less for each of them is a tenth of a large answer's time.
                return lambda value: f"{start}{value if _find_special(value) is None else escape(value)}{end}"
            case "boolean":
                true, false = f"{start}true{end}", f"{start}false{end}"
                return lambda value: true if value else false
            case "integer" | "long":
                return lambda value: f"{start}{value:d}{end}"
            case "timestamp":
                form = shape.timestamp_format
                to_text = scalars.TIMESTAMP_FORMATS[form.lower()] if form else self._timestamp
            case "blob":
                to_text = scalars.write_blob
            case _:
                to_text = scalars.write_float
        return lambda value: f"{start}{to_text(value)}{end}"


def namespace_declaration(shape: Shape) -> str:
    """The attribute that declares a shape's own namespace, with a leading blank; empty where it has none."""
    match shape.xml_namespace:
        case None:
            return ""
        case XmlNamespace(uri, prefix):
            return f' xmlns{":" if prefix else ""}{prefix}="{uri}"'
        case uri:
            return f' xmlns="{uri}"'
