"""Checksums and ETags of bodies, parts and whole uploads. Called by receiving and by the completion of uploads."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from awscrt import checksums  # pyright: ignore[reportMissingTypeStubs]

from pileus.engines.objects.errors import DigestMismatch
from pileus.engines.objects.model import Algorithm, Checksum, ChecksumType, Encryption, PartInfo


class _Hash(Protocol):
    def update(self, data: bytes | bytearray, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    def __init__(self, calculate: Callable[[Any, int], int], size: int) -> None:
        self._calculate = calculate
        self._size = size
        self._value = 0

    def update(self, data: bytes | bytearray, /) -> None:
        self._value = self._calculate(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def hasher(algorithm: Algorithm) -> _Hash:
    """A running checksum. Its bytes are those that S3 writes in base64."""
    match algorithm:
        case "CRC32":
            return _Crc(checksums.crc32, 4)
        case "CRC32C":
            return _Crc(checksums.crc32c, 4)
        case "CRC64NVME":
            return _Crc(checksums.crc64nvme, 8)
        case "SHA1":
            return hashlib.sha1(usedforsecurity=False)
        case "SHA256":
            return hashlib.sha256()


class BodyDigest:
    """MD5 and perhaps a checksum of a body as it streams by. One thread at a time."""

    def __init__(self, algorithm: Algorithm | None) -> None:
        self._algorithm: Algorithm | None = algorithm
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hash = None if algorithm is None else hasher(algorithm)

    def update(self, data: bytes | bytearray) -> None:
        """The next bytes."""
        self._md5.update(data)
        if self._hash is not None:
            self._hash.update(data)

    def md5(self, expected: str | None) -> bytes:
        """The MD5. Raises DigestMismatch when another was ``expected`` (base64)."""
        value = self._md5.digest()
        _compare("MD5", expected, _base64(value))
        return value

    def checksum(self, expected: str | None) -> Checksum | None:
        """The checksum, if one was asked for. Raises DigestMismatch."""
        if self._algorithm is None or self._hash is None:
            return None
        value = _base64(self._hash.digest())
        _compare(self._algorithm, expected, value)
        return Checksum(algorithm=self._algorithm, value=value)


def etag(md5: bytes, encryption: Encryption | None) -> str:
    """The MD5, or something opaque where it would tell about bytes that are encrypted under a key of the client's."""
    return md5.hex() if encryption is None or encryption.mode == "AES256" else secrets.token_hex(16)


def upload_etag(parts: Sequence[PartInfo]) -> str:
    """The ETag of an object of parts: the MD5 of the parts' MD5s, and their number."""
    joined = b"".join(bytes.fromhex(part.etag) for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def upload_checksum(algorithm: Algorithm, kind: ChecksumType, parts: Sequence[PartInfo]) -> Checksum:
    """The checksum of an object of parts that all have one of ``algorithm``: of the whole object, or of checksums."""
    values = [base64.b64decode(part.checksum.value) for part in parts if part.checksum is not None]
    if kind == "COMPOSITE":
        total = hasher(algorithm)
        total.update(b"".join(values))
        value = f"{_base64(total.digest())}-{len(parts)}"
    else:
        value = _base64(_combined(algorithm, values, [part.size for part in parts]))
    return Checksum(algorithm=algorithm, value=value, type=kind)


def verify_upload(checksum: Checksum, expected: Checksum | None) -> None:
    """Raises DigestMismatch. A composite value may be given without the number of parts."""
    if expected is not None and expected.value not in {checksum.value, checksum.value.partition("-")[0]}:
        raise DigestMismatch(expected.algorithm, expected.value, checksum.value)


def _combined(algorithm: Algorithm, values: Sequence[bytes], sizes: Sequence[int]) -> bytes:
    combine = cast(
        "Callable[[int, int, int], int]",
        {
            "CRC32": checksums.combine_crc32,
            "CRC32C": checksums.combine_crc32c,
            "CRC64NVME": checksums.combine_crc64nvme,
        }[algorithm],
    )
    total = 0
    for value, size in zip(values, sizes, strict=True):
        total = combine(total, int.from_bytes(value, "big"), size)
    return total.to_bytes(8 if algorithm == "CRC64NVME" else 4, "big")


def _compare(algorithm: str, expected: str | None, calculated: str) -> None:
    if expected is not None and expected != calculated:
        raise DigestMismatch(algorithm, expected, calculated)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
