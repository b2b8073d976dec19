"""A request and an answer as values, free of any web server.

Made and sent by ``pileus.gateway``, read by all of ``pileus.aws``.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

import msgspec


class Headers(Mapping[str, str]):
    """Header fields, read-only, found without regard to case.

    A field that came several times reads as one value joined by ``", "`` (RFC 9110, 5.3); ``get_all`` gives the parts.
    Iteration yields lower-case names, each once, in order of arrival.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self._fields.setdefault(name.lower(), []).append(value)

    @classmethod
    def from_raw(cls, fields: Iterable[tuple[bytes, bytes]]) -> "Headers":
        """From the form ASGI servers use. Every byte is kept: headers are Latin-1 on the wire."""
        return cls((name.decode("latin-1"), value.decode("latin-1")) for name, value in fields)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._fields[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    def get_all(self, name: str) -> tuple[str, ...]:
        """Every value of a field, in order of arrival; empty when the field is absent."""
        return tuple(self._fields.get(name.lower(), ()))


class HttpRequest(msgspec.Struct, frozen=True):
    """One request as it came over the wire.

    Attributes:
        path: raw, still percent-encoded, because signatures cover it in that form. query: raw, without the ``?``.
        source_address: of the client; empty when unknown. source_vpc, source_endpoint: of a guest that came through an
            interface endpoint.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    source_address: str = ""
    source_vpc: str = ""
    source_endpoint: str = ""


class HttpResponse(msgspec.Struct, frozen=True):
    """One answer, ready to be sent. Content-Length is left to the server, unless the body is a ``stream``."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    stream: AsyncIterator[bytes] | None = None
