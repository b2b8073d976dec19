"""LUKS headers, made without starting a process, and the encryption of what lies behind them. Called by ``driver``, ``bases``.

A header takes some ten milliseconds: the pass phrase is a random key of 256 bits, which no stretching makes harder to
guess. Every file has a master key of its own.

Source: LUKS1 On-Disk Format Specification 1.2.3; QEMU, docs/interop/qcow2.txt, "Full disk encryption header pointer".
"""

import os
import struct
import uuid
from hashlib import pbkdf2_hmac, sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pileus.drivers.hypervisor.interface import passphrase

SECTOR = 512

_ITERATIONS = 1000
_KEY = 64  # AES-256 in XTS mode has two keys
_STRIPES = 4000
_SLOTS = 8
_SLOT_SECTORS = 504  # the stripes, rounded up to 4 KiB
_ACTIVE, _INACTIVE = 0x00AC71F3, 0x0000DEAD
PAYLOAD = 2 << 20
"""Where the data of a bare container begin, in bytes."""


class Container:
    """A fresh header and the cipher behind it. ``header`` are ``PAYLOAD`` bytes; not shown: the master key."""

    def __init__(self, key: bytes) -> None:
        self._master = os.urandom(_KEY)
        self.header = _header(self._master, passphrase(key).encode())

    def __repr__(self) -> str:
        return "Container(…)"

    def encrypt(self, offset: int, data: bytes) -> bytes:
        """What lies at ``offset``, both in whole sectors: of the file in qcow2, behind the header in a bare container."""
        return _encrypt(self._master, offset // SECTOR, data)


def _header(master: bytes, phrase: bytes) -> bytes:
    digest_salt, slot_salt = os.urandom(32), os.urandom(32)
    digest = pbkdf2_hmac("sha256", master, digest_salt, _ITERATIONS, 20)
    slot_key = pbkdf2_hmac("sha256", phrase, slot_salt, _ITERATIONS, _KEY)
    start = struct.pack(
        ">6sH32s32s32sII20s32sI40s",
        *(b"LUKS\xba\xbe", 1, b"aes", b"xts-plain64", b"sha256"),
        *(PAYLOAD // SECTOR, _KEY, digest, digest_salt, _ITERATIONS, str(uuid.uuid4()).encode()),
    )
    for slot in range(_SLOTS):
        state, iterations, salt = (_INACTIVE, 0, b"") if slot else (_ACTIVE, _ITERATIONS, slot_salt)
        start += struct.pack(">II32sII", state, iterations, salt, 8 + slot * _SLOT_SECTORS, _STRIPES)
    material = _encrypt(slot_key, 0, _split(master))
    return (start.ljust(8 * SECTOR, b"\0") + material).ljust(PAYLOAD, b"\0")


def _split(master: bytes) -> bytes:
    """The anti-forensic stripes: without any one of them the key can't be had."""
    stripes = os.urandom(_KEY * (_STRIPES - 1))
    mixed = bytes(_KEY)
    for begin in range(0, len(stripes), _KEY):
        mixed = _diffuse(_xor(mixed, stripes[begin : begin + _KEY]))
    return stripes + _xor(mixed, master)


def _diffuse(data: bytes) -> bytes:
    return b"".join(
        sha256(number.to_bytes(4, "big") + data[begin : begin + 32]).digest()
        for number, begin in enumerate(range(0, len(data), 32))
    )


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _encrypt(key: bytes, sector: int, data: bytes) -> bytes:
    algorithm = algorithms.AES(key)
    parts: list[bytes] = []
    for begin in range(0, len(data), SECTOR):
        tweak = (sector + begin // SECTOR).to_bytes(16, "little")
        parts.append(Cipher(algorithm, modes.XTS(tweak)).encryptor().update(data[begin : begin + SECTOR]))
    return b"".join(parts)
