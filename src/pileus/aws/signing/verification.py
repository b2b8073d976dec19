"""Proof that a request was signed with a secret: Signature Version 4 by header and by query, and Version 2.

Called by the gateway with a whole request (``verify``), and by data planes that stream (``open_body``). Pure: time comes in.
Sources: AWS, "Signature Version 4 for API requests"; Amazon S3 API reference, "Authenticating requests".
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from pileus.aws.http import HttpRequest
from pileus.aws.signing import canonical, version2
from pileus.aws.signing.chunked import ChunkedBody, ChunkSigner
from pileus.aws.signing.credential import ALGORITHM, Credential, Kind
from pileus.aws.signing.keys import signing_key
from pileus.aws.signing.refusals import Reason, SignatureRefused

SKEW = timedelta(minutes=5)
S3_SKEW = timedelta(minutes=15)
_UNSIGNED = "UNSIGNED-PAYLOAD"
_UNSIGNED_CHUNKS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_STREAMS = {_UNSIGNED_CHUNKS, _SIGNED_CHUNKS, f"{_SIGNED_CHUNKS}-TRAILER"}
_MAY_BE_UNSIGNED = frozenset({"x-amz-content-sha256", "x-amz-date", "x-amz-user-agent"})
"""The first two stand in the text to sign by themselves, the third has no meaning."""


class BodyReader(Protocol):
    """Takes a body as it comes over the wire and hands on what is verified."""

    def feed(self, data: bytes) -> bytes:
        """Decoded bytes; raises ``SignatureRefused``."""
        ...

    def finish(self) -> Mapping[str, str]:
        """The trailing headers; raises ``SignatureRefused`` when the body was not the signed one."""
        ...


class VerifiedBody(msgspec.Struct, frozen=True):
    """The decoded body, and the headers that came after it in lower case (aws-chunked only)."""

    data: bytes
    trailers: Mapping[str, str]


def verify(request: HttpRequest, credential: Credential, secret: str, now: datetime) -> VerifiedBody:
    """Checks time, signature and body of a whole request.

    Raises:
        SignatureRefused: any part is not what was signed with ``secret``, or it is too early or too late.
    """
    _check_time(credential, now)
    if credential.kind is Kind.V2:
        version2.check(request, credential, secret)
        return VerifiedBody(request.body, {})
    if credential.kind is Kind.S3_V2:
        version2.check_s3(request, credential, secret)
        reader = open_unsigned_body(request)
        return VerifiedBody(reader.feed(request.body), reader.finish())
    if not _is_s3(credential):
        _check_signature(request, credential, secret, hashlib.sha256(request.body).hexdigest())
        return VerifiedBody(request.body, {})
    reader = _open_s3_body(request, credential, secret)
    return VerifiedBody(reader.feed(request.body), reader.finish())


def open_body(request: HttpRequest, credential: Credential, secret: str, now: datetime) -> BodyReader:
    """Checks time and signature of an S3 request from its head alone; ``request.body`` is not read, it follows by ``feed``.

    Raises:
        SignatureRefused: as ``verify``; also for a request whose signature covers a body that has not been seen, which
            is any but S3's.
    """
    _check_time(credential, now)
    if credential.kind is Kind.V2 or not _is_s3(credential):
        raise SignatureRefused(Reason.UNSUPPORTED, "Only S3 requests are read as a stream.")
    if credential.kind is Kind.S3_V2:
        version2.check_s3(request, credential, secret)
        return open_unsigned_body(request)
    return _open_s3_body(request, credential, secret)


def open_unsigned_body(request: HttpRequest) -> BodyReader:
    """What reads the body of an S3 request that nobody signed: plain, or in unsigned chunks.

    Raises:
        SignatureRefused: it claims to have signed chunks, or its framing can't be read.
    """
    payload = request.headers.get("x-amz-content-sha256", _UNSIGNED)
    if payload == _UNSIGNED_CHUNKS or "aws-chunked" in request.headers.get("content-encoding", ""):
        payload = _UNSIGNED_CHUNKS if payload == _UNSIGNED else payload
        return _open_chunks(request, payload, None)
    return _WholeBody(None if len(payload) != 64 else payload)


class _WholeBody:
    """A body in one piece, compared with the SHA-256 that was signed; None when none was."""

    def __init__(self, digest: str | None) -> None:
        self._digest = digest
        self._hash = hashlib.sha256()

    def feed(self, data: bytes) -> bytes:
        if self._digest is not None:
            self._hash.update(data)
        return data

    def finish(self) -> Mapping[str, str]:
        if self._digest is not None and self._digest != self._hash.hexdigest():
            raise SignatureRefused(Reason.WRONG_PAYLOAD)
        return {}


def _is_s3(credential: Credential) -> bool:
    return credential.service.startswith("s3")


def _open_s3_body(request: HttpRequest, credential: Credential, secret: str) -> BodyReader:
    if credential.kind is Kind.QUERY:
        signed = "x-amz-content-sha256" in credential.signed_headers
        payload = request.headers.get("x-amz-content-sha256", _UNSIGNED) if signed else _UNSIGNED
    else:
        payload = request.headers.get("x-amz-content-sha256", "")
        if not payload:
            raise SignatureRefused(Reason.MISSING_HASH)
    _check_signature(request, credential, secret, payload)
    if payload not in _STREAMS:
        return _WholeBody(None if payload == _UNSIGNED else payload)
    return _open_chunks(request, payload, _chunk_signer(credential, secret))


def _open_chunks(request: HttpRequest, payload: str, signer: ChunkSigner | None) -> BodyReader:
    if payload != _UNSIGNED_CHUNKS and (payload not in _STREAMS or signer is None):
        raise SignatureRefused(Reason.MISSING)
    length = request.headers.get("x-amz-decoded-content-length", "")
    if not (length.isascii() and length.isdecimal()) or len(length) > 15:
        raise SignatureRefused(Reason.INCOMPLETE_BODY, "x-amz-decoded-content-length is missing.")
    announced = request.headers.get("x-amz-trailer", "") if payload.endswith("-TRAILER") else ""
    return ChunkedBody(
        signer=None if payload == _UNSIGNED_CHUNKS else signer,
        length=int(length),
        trailers=tuple(name.strip().lower() for name in announced.split(",") if name.strip()),
    )


def _chunk_signer(credential: Credential, secret: str) -> ChunkSigner:
    return ChunkSigner(
        key=signing_key(secret, credential.date, credential.region, credential.service),
        time=_time_text(credential),
        scope=_scope_text(credential),
        seed=credential.signature,
    )


def _check_signature(request: HttpRequest, credential: Credential, secret: str, payload: str) -> None:
    """Signature Version 4 over everything but the body, for which its hash (or a word in its place) stands."""
    _check_signed_headers(request, credential)
    literal = _is_s3(credential)
    if credential.kind is Kind.QUERY:
        pairs: Iterable[tuple[bytes, bytes]] = (pair for pair in credential.parameters if pair[0] != b"X-Amz-Signature")
        query = canonical.query_string(pairs)
    else:
        query = canonical.query_string(canonical.query_pairs(request.query)) if request.query else ""
    names = credential.signed_headers
    canonical_request = (
        f"{request.method}\n{canonical.path(request.path, literal=literal)}\n{query}\n"
        f"{canonical.headers(request.headers, names)}\n{';'.join(names)}\n{payload}"
    )
    digest = hashlib.sha256(canonical_request.encode("latin-1")).hexdigest()
    text = f"{ALGORITHM}\n{_time_text(credential)}\n{_scope_text(credential)}\n{digest}"
    key = signing_key(secret, credential.date, credential.region, credential.service)
    expected = hmac.digest(key, text.encode("latin-1"), "sha256").hex()
    if not hmac.compare_digest(expected.encode(), credential.signature.encode("utf-8")):
        raise SignatureRefused(Reason.MISMATCH)


def _check_signed_headers(request: HttpRequest, credential: Credential) -> None:
    """Host must be signed, every signed header must be there, and no x-amz- header may have been added on the way."""
    names = credential.signed_headers
    if "host" not in names:
        raise SignatureRefused(Reason.UNSIGNED_HEADER, "'Host' must be a 'SignedHeader' in the AWS Authorization.")
    for name in names:
        if name not in request.headers:
            raise SignatureRefused(Reason.MISMATCH)
    for name in request.headers:
        if name.startswith("x-amz-") and name not in names and name not in _MAY_BE_UNSIGNED:
            raise SignatureRefused(
                Reason.UNSIGNED_HEADER, f"'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )


def _check_time(credential: Credential, now: datetime) -> None:
    """Not older nor newer than the skew allows; a presigned request also not later than it says."""
    skew = S3_SKEW if _is_s3(credential) else SKEW
    signed_at, expires = credential.signed_at, credential.expires
    if expires is not None and now > expires:
        raise SignatureRefused(
            Reason.EXPIRED, f"Signature expired: {_basic(expires)} is now earlier than {_basic(now)}"
        )
    if signed_at is None:
        return
    if credential.date and credential.date != f"{signed_at:%Y%m%d}":
        raise SignatureRefused(
            Reason.WRONG_SCOPE,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{credential.date}' != '{signed_at:%Y%m%d}'.",
        )
    allowed = f"{skew.seconds // 60} min."
    if signed_at - now > skew:
        raise SignatureRefused(
            Reason.NOT_YET_VALID if expires else Reason.SKEWED,
            f"Signature not yet current: {_basic(signed_at)} is still later than {_basic(now + skew)} "
            f"({_basic(now)} + {allowed})",
        )
    if expires is None and now - signed_at > skew:
        raise SignatureRefused(
            Reason.SKEWED,
            f"Signature expired: {_basic(signed_at)} is now earlier than {_basic(now - skew)} ({_basic(now)} - {allowed})",
        )


def _time_text(credential: Credential) -> str:
    assert credential.signed_at is not None  # Version 4 always says it
    return _basic(credential.signed_at)


def _scope_text(credential: Credential) -> str:
    return f"{credential.date}/{credential.region}/{credential.service}/aws4_request"


def _basic(time: datetime) -> str:
    return f"{time:%Y%m%dT%H%M%SZ}"
