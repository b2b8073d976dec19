"""Reads XML request bodies, for the rest-xml protocol. Namespaces are ignored; document types and entities are refused."""

from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from pileus.aws.models import ServiceModel, Shape
from pileus.aws.protocol import scalars
from pileus.aws.protocol.errors import MalformedXML
from pileus.aws.protocol.lazy import Compiled

MAX_DEPTH = 100
_MESSAGE = "The XML you provided was not well-formed or did not validate against our published schema"


class Element:
    """An element without its prefix; ``attributes`` keep theirs, because a model names them with it."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name.rpartition(":")[2]
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""


Read = Callable[[Element], Any]


def parse(body: bytes) -> Element:
    """The root element. Raises ``MalformedXML``: not well-formed, a document type, or nested too deeply."""
    root = Element("", {})
    open_elements: list[Element] = [root]
    texts: list[list[str]] = [[]]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_elements) > MAX_DEPTH:
            raise MalformedXML(_MESSAGE)
        element = Element(name, attributes)
        open_elements[-1].children.append(element)
        open_elements.append(element)
        texts.append([])

    def end(name: str) -> None:
        open_elements.pop().text = "".join(texts.pop())

    def add_text(text: str) -> None:
        texts[-1].append(text)

    def refuse(*_: object) -> None:
        raise MalformedXML(_MESSAGE)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = add_text
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError):  # the latter two: an encoding that Python doesn't know
        raise MalformedXML(_MESSAGE) from None
    return root.children[0]


class XmlReader:
    """Compiles readers for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._structures: dict[str, Read] = {}

    def compile(self, shape: Shape) -> Read:
        """A reader for elements of ``shape``."""
        match shape.type:
            case "structure":
                return self._structure(shape)
            case "list":
                assert shape.member
                item = self.compile(self._model.shape(shape.member))
                return lambda element: [item(child) for child in element.children]
            case "map":
                return self._map(shape)
            case _:
                return _scalar(shape)

    def _structure(self, shape: Shape) -> Read:
        """One reader for all places where the shape is used, itself among them."""
        known = self._structures.get(shape.shape)
        if known is not None:
            return known
        resolved = {name: self._model.shape(ref) for name, ref in shape.members.items()}
        attributes = {name: member.location_name or name for name, member in resolved.items() if member.xml_attribute}
        names = {
            self._wire_name(member, name): name
            for name, member in resolved.items()
            if not member.location and not member.xml_attribute
        }
        members = Compiled(lambda wire: self._member(names[wire], resolved[names[wire]]))

        def read(element: Element) -> dict[str, Any]:
            result: dict[str, Any] = {
                name: element.attributes[wire] for name, wire in attributes.items() if wire in element.attributes
            }
            for child in element.children:
                if child.name in names:
                    members[child.name](result, child)
            return result

        self._structures[shape.shape] = read
        return read

    def _wire_name(self, shape: Shape, name: str) -> str:
        if shape.type == "list" and shape.flattened:
            assert shape.member
            return self._model.shape(shape.member).location_name or shape.location_name or name
        return shape.location_name or name

    def _member(self, name: str, shape: Shape) -> Callable[[dict[str, Any], Element], None]:
        """What puts a child's value into its structure: flattened lists and maps grow, all else is set."""
        if shape.flattened and shape.type == "list":
            assert shape.member
            read_item = self.compile(self._model.shape(shape.member))
            return lambda result, element: result.setdefault(name, []).append(read_item(element))
        if shape.flattened and shape.type == "map":
            read_pair = self._pair(shape)
            return lambda result, element: result.setdefault(name, {}).update([read_pair(element)])
        read = self.compile(shape)
        return lambda result, element: result.__setitem__(name, read(element))

    def _map(self, shape: Shape) -> Read:
        read_pair = self._pair(shape)
        return lambda element: dict(map(read_pair, element.children))

    def _pair(self, shape: Shape) -> Callable[[Element], tuple[Any, Any]]:
        assert shape.key and shape.value
        key, value = self._model.shape(shape.key), self._model.shape(shape.value)
        key_name, value_name = key.location_name or "key", value.location_name or "value"
        read_key, read_value = self.compile(key), self.compile(value)

        def read(element: Element) -> tuple[Any, Any]:
            parts = {child.name: child for child in element.children}
            if key_name not in parts or value_name not in parts:
                raise MalformedXML(_MESSAGE)
            return read_key(parts[key_name]), read_value(parts[value_name])

        return read


def _scalar(shape: Shape) -> Read:
    convert = scalars.READERS[shape.type]
    # Only in strings does white space around the value belong to it.
    strip = shape.type not in ("string", "character")

    def read(element: Element) -> Any:
        if element.children:
            raise MalformedXML(_MESSAGE)
        try:
            return convert(element.text.strip() if strip else element.text)
        except ValueError:
            raise MalformedXML(_MESSAGE) from None

    return read
