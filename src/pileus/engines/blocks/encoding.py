"""The stored form of a block: compressed, and sealed where the snapshot is encrypted. Used by ``upload`` and ``reader``.

An encoded block is one byte that says how, and what that byte says: ``RAW`` the plaintext; ``ZSTD`` one Zstandard frame
of it; ``SEALED`` a nonce of 12 bytes and AES-256-GCM (NIST SP 800-38D) of one of the other two forms, byte included.

Sealing is convergent within one data key: the nonce is the beginning of an HMAC-SHA256 over exactly what GCM encrypts,
so equal blocks of one line of snapshots are stored once, and no nonce is used for two texts (another release of the
compressor makes another text of the same block, and so another nonce). Both keys are derived from the data key by HKDF.
What this tells one who reads the disk: which blocks of one key are equal, and about how well each compresses.
"""

import threading

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from pileus.engines.blocks.interface import BLOCK, BlockUnreadable

RAW, ZSTD, SEALED = b"\x00", b"\x01", b"\x02"
ENCODED_LIMIT = 1 + 12 + 1 + BLOCK + 16
"""No encoded block is longer."""

_KEY = 32
_NONCE = 12
_LEVEL = 1
_ZEROS = bytes(BLOCK)
_local = threading.local()


class BlockKey:
    """A data key (32 bytes), ready to seal and open blocks. Thread-safe; shows nothing of the key."""

    def __init__(self, data_key: bytes) -> None:
        if len(data_key) != _KEY:
            raise ValueError(f"a data key has {_KEY} bytes, not {len(data_key)}")
        self._cipher = AESGCM(_derived(data_key, b"pileus blocks: seal"))
        self._nonce_key = _derived(data_key, b"pileus blocks: nonce")

    def __repr__(self) -> str:
        return "BlockKey(…)"

    def seal(self, text: bytes) -> bytes:
        """Nonce, ciphertext and tag; the same for the same text."""
        mac = hmac.HMAC(self._nonce_key, hashes.SHA256())
        mac.update(text)
        nonce = mac.finalize()[:_NONCE]
        return nonce + self._cipher.encrypt(nonce, text, SEALED)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises BlockUnreadable."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], SEALED)
        except (InvalidTag, ValueError) as error:
            raise BlockUnreadable("the block is sealed under another key") from error


def padded(data: bytes) -> bytes:
    """A whole block: a shorter one, which only the last of a volume may be, is filled with zeros. Raises ValueError."""
    if len(data) == BLOCK:
        return data
    if not 0 < len(data) < BLOCK:
        raise ValueError(f"a block has up to {BLOCK} bytes, not {len(data)}")
    return data.ljust(BLOCK, b"\0")


def is_hole(block: bytes) -> bool:
    """Whether a whole block is all zeros, which is not stored."""
    return block == _ZEROS


def encode(block: bytes, key: BlockKey | None = None) -> bytes:
    """The stored form of a whole block, the same each time. Takes a millisecond of a processor: not for event loops."""
    if len(block) != BLOCK:
        raise ValueError(f"a block has {BLOCK} bytes, not {len(block)}")
    packed = _compressor().compress(block)
    text = ZSTD + packed if len(packed) < BLOCK else RAW + block
    return text if key is None else SEALED + key.seal(text)


def decode(data: bytes, key: BlockKey | None = None) -> bytes:
    """The whole block. ``key`` is needed for sealed ones, and refuses others: what is not sealed is not ours then.

    Raises:
        BlockUnreadable: it was sealed under another key, or is no encoded block.
    """
    if data[:1] == SEALED:
        if key is None:
            raise BlockUnreadable("the block is sealed, and no key was given")
        data = key.open(data[1:])
    elif key is not None:
        raise BlockUnreadable("the block of an encrypted snapshot is not sealed")
    block = data[1:]
    if data[:1] == ZSTD:
        block = unpack(block, BLOCK)
    elif data[:1] != RAW:
        raise BlockUnreadable("not an encoded block")
    if len(block) != BLOCK:
        raise BlockUnreadable(f"not an encoded block: {len(block)} bytes")
    return block


def pack(data: bytes) -> bytes:
    """One Zstandard frame of the data, that says how long they are."""
    return _compressor().compress(data)


def unpack(frame: bytes, length: int) -> bytes:
    """What ``pack`` was given, if that was ``length`` bytes long. Raises BlockUnreadable."""
    try:
        # The length that a frame claims is what would be allocated.
        if zstandard.frame_content_size(frame) != length:
            raise BlockUnreadable(f"the frame does not hold {length} bytes")
        return _decompressor().decompress(frame, max_output_size=length)
    except zstandard.ZstdError as error:
        raise BlockUnreadable(f"not a Zstandard frame: {error}") from error


def _derived(data_key: bytes, purpose: bytes) -> bytes:
    # The data key is uniformly random, so HKDF's extraction adds nothing (RFC 5869, 3.3).
    return HKDFExpand(algorithm=hashes.SHA256(), length=_KEY, info=purpose).derive(data_key)


def _compressor() -> zstandard.ZstdCompressor:
    """This thread's: one can't be used by two at once."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True, write_checksum=False)
    return _local.compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    return _local.decompressor
