"""Checksums and ETags."""

import base64
import hashlib
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.engines.objects.digests import BodyDigest, etag, upload_checksum, upload_etag, verify_upload
from pileus.engines.objects.errors import DigestMismatch
from pileus.engines.objects.model import Checksum, Encryption, PartInfo

# "123456789", as in the catalogue of CRC algorithms.
KNOWN = {"CRC32": 0xCBF43926, "CRC32C": 0xE3069283, "CRC64NVME": 0xAE8B14860A799888}
ALGORITHMS = st.sampled_from(["CRC32", "CRC32C", "CRC64NVME"])


def value(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def checksum(algorithm: str, data: bytes) -> Checksum:
    digest = BodyDigest(algorithm)
    digest.update(data)
    return digest.checksum(None)


def part(number: int, algorithm: str, data: bytes) -> PartInfo:
    return PartInfo(
        number=number,
        size=len(data),
        etag=hashlib.md5(data).hexdigest(),
        modified=datetime(2026, 1, 1, tzinfo=UTC),
        checksum=checksum(algorithm, data),
    )


@pytest.mark.parametrize(("algorithm", "expected"), KNOWN.items())
def test_crcs_are_the_known_ones(algorithm, expected):
    size = 8 if algorithm == "CRC64NVME" else 4
    assert checksum(algorithm, b"123456789").value == value(expected.to_bytes(size, "big"))


@given(st.lists(st.binary(max_size=100)))
def test_pieces_make_a_whole(pieces):
    data = b"".join(pieces)
    for algorithm, expected in [
        ("SHA1", hashlib.sha1(data).digest()),
        ("SHA256", hashlib.sha256(data).digest()),
        ("CRC32", zlib.crc32(data).to_bytes(4, "big")),
    ]:
        digest = BodyDigest(algorithm)
        for piece in pieces:
            digest.update(piece)
        assert digest.md5(value(hashlib.md5(data).digest())) == hashlib.md5(data).digest()
        assert digest.checksum(value(expected)).value == value(expected)


def test_another_value_than_expected():
    digest = BodyDigest("SHA256")
    with pytest.raises(DigestMismatch) as caught:
        digest.checksum("x")
    assert (caught.value.algorithm, caught.value.expected) == ("SHA256", "x")
    with pytest.raises(DigestMismatch):
        digest.md5("x")
    assert BodyDigest(None).checksum(None) is None


@given(ALGORITHMS, st.lists(st.binary(min_size=1, max_size=100), min_size=1))
def test_the_checksum_of_parts_is_that_of_the_whole(algorithm, pieces):
    parts = [part(number, algorithm, piece) for number, piece in enumerate(pieces, 1)]
    made = upload_checksum(algorithm, "FULL_OBJECT", parts)
    assert made == checksum(algorithm, b"".join(pieces))


def test_a_composite_checksum_is_that_of_checksums():
    pieces = [b"one", b"two"]
    made = upload_checksum("SHA1", "COMPOSITE", [part(n, "SHA1", piece) for n, piece in enumerate(pieces, 1)])
    expected = value(hashlib.sha1(b"".join(hashlib.sha1(piece).digest() for piece in pieces)).digest())
    assert (made.value, made.type) == (f"{expected}-2", "COMPOSITE")
    for given_value in (made.value, expected):
        verify_upload(made, Checksum(algorithm="SHA1", value=given_value))
    with pytest.raises(DigestMismatch):
        verify_upload(made, Checksum(algorithm="SHA1", value=f"{expected}-3x"))


def test_etags():
    md5 = hashlib.md5(b"one").digest()
    assert etag(md5, None) == etag(md5, Encryption(mode="AES256")) == md5.hex()
    hidden = etag(md5, Encryption(mode="aws:kms"))
    assert len(hidden) == 32
    assert hidden != md5.hex()
    both = hashlib.md5(md5 + hashlib.md5(b"two").digest()).hexdigest()
    assert upload_etag([part(1, "CRC32", b"one"), part(2, "CRC32", b"two")]) == f"{both}-2"
