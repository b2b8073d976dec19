"""What symmetric KMS keys encrypt: the form of a ciphertext blob, and its encryption. Used by ``pileus.operations.keys``.

A blob is version (1 byte), key id (16), generation of the key's material (4, big endian), salt (16), nonce (12), then
AES-256-GCM's ciphertext and tag (NIST SP 800-38D). Each has a key of its own, HMAC-SHA-256 of material and salt, so that
the number of messages under one material is not bounded by the length of nonces. Head and encryption context are
authenticated; the context is not stored.
"""

import hmac
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Self
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = 1
_HEAD = 1 + 16 + 4
_SALT = 16
_NONCE = 12
_TAG = 16
_LABEL = b"pileus-kms-1"


class CiphertextBroken(Exception):
    """It is no ciphertext of ours, was altered, or was encrypted in another encryption context."""


class Ciphertext(msgspec.Struct, frozen=True):
    """A blob in its parts. ``generation`` counts from 0."""

    key_id: str
    generation: int
    salt: bytes
    nonce: bytes
    body: bytes

    @classmethod
    def parse(cls, blob: bytes) -> Self:
        """Raises CiphertextBroken when it has not the form; whether it is genuine shows only when it is opened."""
        if len(blob) < _HEAD + _SALT + _NONCE + _TAG or blob[0] != _VERSION:
            raise CiphertextBroken("not a ciphertext")
        salt, nonce = _HEAD + _SALT, _HEAD + _SALT + _NONCE
        return cls(
            key_id=str(UUID(bytes=blob[1:17])),
            generation=int.from_bytes(blob[17:21], "big"),
            salt=blob[_HEAD:salt],
            nonce=blob[salt:nonce],
            body=blob[nonce:],
        )


def encrypt(material: bytes, key_id: str, generation: int, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """A fresh blob. ``material`` is the key's secret of that generation."""
    head, salt, nonce = _head(key_id, generation), secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    body = _cipher(material, salt).encrypt(nonce, plaintext, head + canonical_context(context))
    return head + salt + nonce + body


def decrypt(material: bytes, blob: Ciphertext, context: Mapping[str, str]) -> bytes:
    """The plaintext. Raises CiphertextBroken."""
    bound = _head(blob.key_id, blob.generation) + canonical_context(context)
    try:
        return _cipher(material, blob.salt).decrypt(blob.nonce, blob.body, bound)
    except InvalidTag as error:
        raise CiphertextBroken("altered, or encrypted in another context") from error


def canonical_context(context: Mapping[str, str]) -> bytes:
    """An encryption context as bytes that no other one has: names in order, every text with its length before it."""
    pairs = sorted((name.encode(), value.encode()) for name, value in context.items())
    return b"".join(len(text).to_bytes(4, "big") + text for pair in pairs for text in pair)


def _head(key_id: str, generation: int) -> bytes:
    return bytes([_VERSION]) + UUID(key_id).bytes + generation.to_bytes(4, "big")


def _cipher(material: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(material, _LABEL + salt, sha256))
