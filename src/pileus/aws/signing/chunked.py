"""Bodies that come in signed chunks (``Content-Encoding: aws-chunked``), verified and decoded as they arrive.

Source: AWS, "Signature calculations for the Authorization header: transferring payload in multiple chunks", and
"… including trailing headers". A chunk is ``<hex length>[;chunk-signature=<signature>]CRLF<data>CRLF``; an empty one ends the
body; trailing headers may follow it, then an empty line.
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import Enum, auto

from pileus.aws.signing.refusals import Reason, SignatureRefused

MAX_CHUNK = 16 * 1024 * 1024
"""Bytes. A chunk is held until its signature is known, so that nothing false is ever handed on."""
MAX_LINE = 4096
_EMPTY_HASH = hashlib.sha256(b"").hexdigest()
_SIGNATURE_FIELD = "chunk-signature="
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class ChunkSigner:
    """The chain of chunk signatures: each covers the one before it, the first covers the request's own."""

    def __init__(self, *, key: bytes, time: str, scope: str, seed: str) -> None:
        self._key = key
        self._context = f"{time}\n{scope}"
        self._previous = seed

    def check_chunk(self, data: bytes, signature: str) -> None:
        """Raises ``SignatureRefused`` when the next chunk is not this one."""
        self._check("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY_HASH}\n{hashlib.sha256(data).hexdigest()}", signature)

    def check_trailers(self, text: bytes, signature: str) -> None:
        """Raises ``SignatureRefused`` when the trailing headers, one ``name:value`` a line, are not these."""
        self._check("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(text).hexdigest(), signature)

    def _check(self, algorithm: str, digest: str, signature: str) -> None:
        text = f"{algorithm}\n{self._context}\n{self._previous}\n{digest}"
        expected = hmac.digest(self._key, text.encode("latin-1"), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode("latin-1")):
            raise SignatureRefused(Reason.MISMATCH)
        self._previous = expected


class _Next(Enum):
    SIZE = auto()
    DATA = auto()
    TRAILER = auto()
    NOTHING = auto()


class ChunkedBody:
    """An incremental decoder. Feed it what arrives, take what it returns, and ``finish``.

    Memory is bounded by one chunk (``MAX_CHUNK``).
    """

    def __init__(self, *, signer: ChunkSigner | None, length: int, trailers: tuple[str, ...] = ()) -> None:
        """Starts at the first byte of a body.

        Args:
            signer: None for unsigned chunks.
            length: bytes of x-amz-decoded-content-length.
            trailers: the lower-case names that x-amz-trailer announces.
        """
        self._signer = signer
        self._declared = frozenset(trailers)
        self._left = length
        self._buffer = bytearray()
        self._next = _Next.SIZE
        self._chunk_size = 0
        self._chunk_signature = ""
        self._trailers: dict[str, str] = {}
        self._trailers_signed = signer is None or not trailers

    def feed(self, data: bytes) -> bytes:
        """Takes wire bytes; returns the decoded bytes that are now verified.

        Raises:
            SignatureRefused: a signature is false, or the framing is.
        """
        self._buffer += data
        out: list[bytes] = []
        while self._next is not _Next.NOTHING:
            if self._next is _Next.DATA:
                chunk = self._take_chunk()
                if chunk is None:
                    break
                out.append(chunk)
            else:
                line = self._take_line()
                if line is None:
                    break
                if self._next is _Next.SIZE:
                    self._read_size(line)
                else:
                    self._read_trailer(line)
        if self._next is _Next.NOTHING and self._buffer:
            raise _broken("bytes follow the end of the body")
        return b"".join(out)

    def finish(self) -> Mapping[str, str]:
        """The trailing headers, verified, once the whole body has been fed.

        Raises:
            SignatureRefused: the body is cut off, shorter than declared, or lacks a trailer that was announced.
        """
        ended = (
            self._next in {_Next.TRAILER, _Next.NOTHING} and not self._buffer
        )  # some clients leave out the last empty line
        if not ended or not self._trailers_signed or self._left or self._declared - self._trailers.keys():
            raise _broken("the body is incomplete")
        return self._trailers

    def _take_line(self) -> str | None:
        end = self._buffer.find(b"\r\n", 0, MAX_LINE)
        if end < 0:
            if len(self._buffer) >= MAX_LINE:
                raise _broken("a line is too long")
            return None
        line = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 2]
        return line

    def _read_size(self, line: str) -> None:
        size, _, extension = line.partition(";")
        if not 1 <= len(size) <= 8 or not all(digit in "0123456789abcdefABCDEF" for digit in size):
            raise _broken("a chunk has no size")
        self._chunk_size = int(size, 16)
        if self._chunk_size > min(MAX_CHUNK, self._left):
            raise _broken("a chunk is larger than what was declared")
        if self._signer is not None:
            if not extension.startswith(_SIGNATURE_FIELD):
                raise _broken("a chunk has no signature")
            self._chunk_signature = extension.removeprefix(_SIGNATURE_FIELD)
        if self._chunk_size:
            self._next = _Next.DATA
        else:
            if self._signer is not None:
                self._signer.check_chunk(b"", self._chunk_signature)
            self._next = _Next.TRAILER

    def _take_chunk(self) -> bytes | None:
        size = self._chunk_size
        if len(self._buffer) < size + 2:
            return None
        if not self._buffer.startswith(b"\r\n", size):
            raise _broken("a chunk is not of its size")
        chunk = bytes(self._buffer[:size])
        del self._buffer[: size + 2]
        if self._signer is not None:
            self._signer.check_chunk(chunk, self._chunk_signature)
        self._left -= size
        self._next = _Next.SIZE
        return chunk

    def _read_trailer(self, line: str) -> None:
        if not line:
            if not self._trailers_signed:
                raise _broken("the trailing headers have no signature")
            self._next = _Next.NOTHING
            return
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name == _TRAILER_SIGNATURE and self._signer is not None and not self._trailers_signed:
            text = "".join(f"{name}:{value}\n" for name, value in self._trailers.items())
            self._signer.check_trailers(text.encode("latin-1"), value)
            self._trailers_signed = True
        elif not colon or name not in self._declared or name in self._trailers or self._sealed():
            raise _broken("a trailing header was not announced")
        else:
            self._trailers[name] = value

    def _sealed(self) -> bool:
        return self._signer is not None and self._trailers_signed


def _broken(what: str) -> SignatureRefused:
    return SignatureRefused(Reason.INCOMPLETE_BODY, f"The chunked body can't be read: {what}.")
