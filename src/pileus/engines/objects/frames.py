"""How bytes lie in a blob: frames of 64 KiB, each followed by what proves it. Called by receiving and reading.

A plain frame is followed by 4 bytes: the CRC-32C of the frame, begun with the blob's name and the frame's number. An encrypted
frame is AES-256-GCM, followed by its tag of 16 bytes; the nonce is the frame's number, and the key belongs to this blob alone:
HMAC-SHA-256 of the blob's random salt under the data key. So each frame can be read and proved by itself, and no frame passes
for one of another place. Where a blob ends is known to the index, which holds the salt too.
"""

import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from awscrt import checksums  # pyright: ignore[reportMissingTypeStubs]
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pileus.engines.objects.errors import Damaged, WrongKey

FRAME = 64 * 1024
INLINE = "inline"
"""Stands for a blob's name where the frame is kept in the index."""
_CRC = 4
_TAG = 16


class Frames:
    """Codes the frames of one blob. ``salt`` and ``check`` are empty for plain ones; they are kept in the index."""

    @classmethod
    def existing(cls, blob: str, key: bytes | None, salt: bytes, check: bytes) -> Self:
        """For a blob that is there. Raises WrongKey."""
        if (key is None) != (not salt):
            raise WrongKey("encrypted" if salt else "not encrypted")
        frames = cls(blob, key, salt)
        if not hmac.compare_digest(check, frames.check):
            raise WrongKey("another key")
        return frames

    def __init__(self, blob: str, key: bytes | None, salt: bytes = b"") -> None:
        """For a new blob. Raises WrongKey when the key has not 32 bytes."""
        self._blob = blob
        if key is None:
            self.salt = self.check = b""
            self._cipher = None
            self._seed = checksums.crc32c(blob.encode())
            self.tail = _CRC
            return
        if len(key) != 32:
            raise WrongKey("a key has 32 bytes")
        self.salt = salt or secrets.token_bytes(16)
        self.check = hmac.digest(key, b"pileus blob check" + self.salt, "sha256")[:8]
        self._cipher = AESGCM(hmac.digest(key, b"pileus blob key" + self.salt, "sha256"))
        self.tail = _TAG

    def encode(self, data: bytes | bytearray, first: int) -> Sequence[bytes | memoryview]:
        """Frames ``first`` and on, as pieces to be written; all but the last frame of a blob must be full."""
        view = memoryview(data)
        pieces: list[bytes | memoryview] = []
        for number, start in enumerate(range(0, len(view), FRAME), first):
            piece = view[start : start + FRAME]
            if self._cipher is None:
                pieces += (piece, self._crc(piece, number))
            else:
                pieces.append(self._cipher.encrypt(_nonce(number), piece, None))
        return pieces

    def decode(self, stored: bytes, first: int, skip: int, length: int) -> bytes:
        """``length`` bytes after ``skip`` of frames ``first`` and on. Raises Damaged."""
        view = memoryview(stored)
        size = FRAME + self.tail
        pieces: list[bytes | memoryview] = []
        for index, start in enumerate(range(0, len(view), size)):
            piece = view[start : start + size]
            if len(piece) < self.tail:
                raise Damaged(self._blob, "it ends within a frame")
            pieces.append(self._open(piece, first + index))
        if skip:
            pieces[0] = memoryview(pieces[0])[skip:]
        excess = sum(map(len, pieces)) - length
        if excess < 0:
            raise Damaged(self._blob, "it is too short")
        if excess:
            pieces[-1] = memoryview(pieces[-1])[:-excess]
        return b"".join(pieces)

    def _open(self, piece: memoryview, number: int) -> bytes | memoryview:
        if self._cipher is None:
            data = piece[:-_CRC]
            if self._crc(data, number) == bytes(piece[-_CRC:]):
                return data
        else:
            with suppress(InvalidTag):
                return self._cipher.decrypt(_nonce(number), piece, None)
        raise Damaged(self._blob, f"frame {number} is not what was written")

    def span(self, offset: int, length: int, end: int) -> tuple[int, int, int]:
        """(first frame, offset in the blob, stored bytes) that hold ``length`` bytes from ``offset``; ``end`` is the
        length of all that the blob holds."""
        first, last = offset // FRAME, (offset + length - 1) // FRAME
        stop = min((last + 1) * FRAME, end) + (last + 1) * self.tail
        start = first * (FRAME + self.tail)
        return first, start, stop - start

    def _crc(self, piece: memoryview, number: int) -> bytes:
        return checksums.crc32c(piece, (self._seed + number) & 0xFFFFFFFF).to_bytes(_CRC, "big")  # pyright: ignore[reportArgumentType] - any buffer


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
