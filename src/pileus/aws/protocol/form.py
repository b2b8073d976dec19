"""The parameters of the ec2 and query protocols as sent: ``Foo.1.Bar=x`` in a form body or in the query string."""

from typing import Any
from urllib.parse import unquote

from pileus.aws.http import HttpRequest
from pileus.aws.protocol.errors import MalformedQueryString

Node = str | dict[str, Any]
"""A value, or the parameters below a name."""

MAX_FIELDS = 10_000
MAX_DEPTH = 16  # the deepest parameter of any model has half as many parts
MAX_INDEX = 100_000


def fields(request: HttpRequest) -> dict[str, str]:
    """Name and value of every parameter, decoded.

    Raises:
        MalformedQueryString: not UTF-8, too many fields, or two values for one name.
    """
    found: dict[str, str] = {}
    try:
        for source in (request.query, request.body.decode()):
            if source.count("&") >= MAX_FIELDS:
                raise MalformedQueryString(f"The request has more than {MAX_FIELDS} parameters")
            for field in source.split("&"):
                name, _, value = field.partition("=")
                name, value = _decode(name), _decode(value)
                if name and found.setdefault(name, value) != value:
                    raise MalformedQueryString(f"The parameter {name[:200]} has two values")
    except UnicodeDecodeError as error:
        raise MalformedQueryString("The request is not in UTF-8") from error
    return found


def _decode(text: str) -> str:
    if "+" in text:
        text = text.replace("+", " ")
    return unquote(text, errors="strict") if "%" in text else text


def tree(request: HttpRequest) -> dict[str, Any]:
    """The parameters as nested dictionaries: ``{"Foo": {"1": {"Bar": "x"}}}``.

    Raises:
        MalformedQueryString: as ``fields``; or a name that is both a value and a prefix of others, or nested too deeply.
    """
    root: dict[str, Any] = {}
    for name, value in fields(request).items():
        *prefixes, last = name.split(".", MAX_DEPTH)
        if "." in last:
            raise MalformedQueryString(f"The parameter {name[:200]} is nested too deeply")
        node = root
        for prefix in prefixes:
            child: Node = node.setdefault(prefix, {})
            if isinstance(child, str):
                raise MalformedQueryString(f"The parameter {name[:200]} contradicts another one")
            node = child
        if last in node:
            raise MalformedQueryString(f"The parameter {name[:200]} contradicts another one")
        node[last] = value
    return root


def numbered(node: dict[str, Any]) -> list[tuple[str, Any]] | None:
    """The entries of a list in the order of their numbers, which may start anywhere and leave gaps.

    None when a key is no number or an absurdly large one.
    """
    for key in node:
        if not (key.isdecimal() and key.isascii() and len(key) <= 6 and int(key) <= MAX_INDEX):
            return None
    return sorted(node.items(), key=lambda entry: int(entry[0]))
