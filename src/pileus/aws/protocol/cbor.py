"""CBOR (RFC 8949), as far as Smithy's RPC protocol uses it: one tag, the epoch time, and true, false and null."""

import math
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pileus.aws.protocol import scalars
from pileus.aws.protocol.tree_reader import Tree

MAX_DEPTH = 100
_BREAK = 0xFF
_INDEFINITE = 31
_LENGTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


class CborError(ValueError):
    """The bytes are not one item of the supported kind."""


def decode(data: bytes) -> Tree:
    """The one item that ``data`` holds: numbers, str, bytes, lists, dictionaries, aware datetimes, booleans, None.

    Raises:
        CborError: anything else. Never takes more memory than a small multiple of ``data``.
    """
    decoder = _Decoder(data)
    value = decoder.item(MAX_DEPTH)
    if decoder.position != len(data):
        raise CborError("bytes follow the item")
    return value


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise CborError("it ends too early")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def head(self) -> tuple[int, int]:
        """The major type and the additional information of the next item."""
        initial = self.take(1)[0]
        return initial >> 5, initial & 31

    def argument(self, info: int) -> int:
        if info < 24:
            return info
        if info not in _LENGTHS:
            raise CborError(f"additional information {info}")
        return int.from_bytes(self.take(_LENGTHS[info]))

    def at_break(self) -> bool:
        if self.data[self.position : self.position + 1] == b"\xff":
            self.position += 1
            return True
        return False

    def item(self, depth: int) -> Any:
        if depth == 0:
            raise CborError("it is nested too deeply")
        major, info = self.head()
        match major:
            case 0:
                return self.argument(info)
            case 1:
                return -1 - self.argument(info)
            case 2:
                return self.string(major, info)
            case 3:
                try:
                    return self.string(major, info).decode()
                except UnicodeDecodeError as error:
                    raise CborError("a text that is not UTF-8") from error
            case 4:
                return self.array(info, depth)
            case 5:
                return self.map(info, depth)
            case 6:
                return self.tagged(info, depth)
            case _:
                return self.simple(info)

    def string(self, major: int, info: int) -> bytes:
        if info != _INDEFINITE:
            return self.take(self.argument(info))
        chunks: list[bytes] = []
        while not self.at_break():
            chunk_major, chunk_info = self.head()
            if chunk_major != major:
                raise CborError("a chunk of another type")
            chunks.append(self.take(self.argument(chunk_info)))
        return b"".join(chunks)

    def array(self, info: int, depth: int) -> list[Any]:
        items: list[Any] = []
        if info == _INDEFINITE:
            while not self.at_break():
                items.append(self.item(depth - 1))
        else:
            for _ in range(self.argument(info)):  # an announced length allocates nothing
                items.append(self.item(depth - 1))  # noqa: PERF401 - the comprehension would do the same, less plainly
        return items

    def map(self, info: int, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        remaining = math.inf if info == _INDEFINITE else self.argument(info)
        while remaining > 0 and not (info == _INDEFINITE and self.at_break()):
            key = self.item(depth - 1)
            if not isinstance(key, str) or key in items:
                raise CborError("a key that is no text, or comes twice")
            items[key] = self.item(depth - 1)
            remaining -= 1
        return items

    def tagged(self, info: int, depth: int) -> datetime:
        tag, value = self.argument(info), self.item(depth - 1)
        if tag != 1 or isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise CborError(f"tag {tag} with such a value")
        return scalars.from_epoch(value)

    def simple(self, info: int) -> float | bool | None:
        if info in _FLOATS:
            form, size = _FLOATS[info]
            return struct.unpack(form, self.take(size))[0]
        if info not in _SIMPLE:
            raise CborError(f"simple value {info}")
        return _SIMPLE[info]


def encode(value: Tree) -> bytes:
    """Any tree of what ``decode`` gives. Raises ``TypeError`` for other values."""
    parts: list[bytes] = []
    _encode(value, parts.append)
    return b"".join(parts)


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, size in _LENGTHS.items():
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size)
    raise TypeError("an integer of more than 64 bits")


def _encode(value: Tree, put: Callable[[bytes], None]) -> None:
    match value:
        case None:
            put(b"\xf6")
        case bool():
            put(b"\xf5" if value else b"\xf4")
        case int():
            put(_head(0, value) if value >= 0 else _head(1, -1 - value))
        case float():
            put(b"\xfb" + struct.pack(">d", value))
        case str():
            text = value.encode()
            put(_head(3, len(text)) + text)
        case bytes():
            put(_head(2, len(value)) + value)
        case datetime():
            put(_head(6, 1))
            _encode(scalars.epoch(value), put)
        case list():
            put(_head(4, len(value)))
            for item in value:
                _encode(item, put)
        case dict():
            put(_head(5, len(value)))
            for key, item in value.items():
                _encode(key, put)
                _encode(item, put)
        case _:
            raise TypeError(f"CBOR has no {type(value).__name__}")
