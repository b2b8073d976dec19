"""Secrets at rest: AES-256-GCM under one key file. Used by whatever stores private keys, tokens or passwords.

A sealed text is ``1.`` and base64url of nonce (12 bytes), ciphertext and tag (NIST SP 800-38D). Nonces are random, which
is safe for some 2^32 seals per key.
"""

import base64
import binascii
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY = 32
_NONCE = 12
_FORMAT = "1."


class SealBroken(Exception):
    """A sealed text was altered, cut, sealed under another key or for another context."""


class Sealer:
    """Seals and opens under one key of 32 bytes. Thread-safe."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY:
            raise ValueError(f"a sealing key has {_KEY} bytes, not {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, plaintext: bytes, context: str) -> str:
        """Encrypts for one place, e.g. ``key-pair/key-0123/private``: it opens under the same ``context`` only."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, plaintext, context.encode())
        return _FORMAT + base64.urlsafe_b64encode(sealed).decode()

    def open(self, sealed: str, context: str) -> bytes:
        """The plaintext. Raises SealBroken."""
        if not sealed.startswith(_FORMAT):
            raise SealBroken(f"{context}: not in a known format")
        try:
            raw = base64.b64decode(sealed.removeprefix(_FORMAT), altchars=b"-_", validate=True)
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], context.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SealBroken(f"{context}: altered, or sealed under another key or for another context") from error


def load_or_create_key(path: Path) -> bytes:
    """The key in ``path`` (mode 0600), made on first use. Processes that start together get the same one.

    Raises:
        ValueError: the file is not a key.
        PermissionError: others can read it.
    """
    with suppress(FileExistsError):
        _create(path)
    status = path.stat()
    if status.st_mode & 0o077:
        raise PermissionError(f"{path} can be read by others: chmod 600 it, or better make a new key")
    key = path.read_bytes()
    if len(key) != _KEY:
        raise ValueError(f"{path} is not a key of {_KEY} bytes")
    return key


def key_of_text(text: str) -> bytes:
    """A key as an operator gives it: 32 bytes in base64. Raises ValueError."""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("the sealing key is not base64") from error
    if len(key) != _KEY:
        raise ValueError(f"the sealing key has {len(key)} bytes, not {_KEY}")
    return key


def _create(path: Path) -> None:
    """Writes a new key completely and durably, then gives it its name, which only one process can.

    Raises FileExistsError.
    """
    if path.exists():
        raise FileExistsError(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
