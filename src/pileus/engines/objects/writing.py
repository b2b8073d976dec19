"""Puts, parts and copies: bytes first, then one transaction that names them. Called by the store."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import msgspec

from pileus.base.clock import Clock
from pileus.engines.objects import uploads, versions
from pileus.engines.objects.digests import etag
from pileus.engines.objects.errors import ChecksumTypeMismatch, ObjectsError, TooLarge, WrongKey
from pileus.engines.objects.index import Index, Transaction
from pileus.engines.objects.keys import encode_key
from pileus.engines.objects.model import (
    MAX_PUT,
    UNCONDITIONAL,
    Algorithm,
    Attributes,
    Conditions,
    Digests,
    Encryption,
    ObjectVersion,
    PartInfo,
    Upload,
)
from pileus.engines.objects.reading import OpenObject, clip
from pileus.engines.objects.receiving import Received, Receiver
from pileus.engines.objects.schema import Content, Segment

T = TypeVar("T")


class _SourceGone(ObjectsError):
    """The object that is copied was deleted meanwhile: its bytes can be read still, but not named again."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a put or copy writes."""

    bucket: str
    key: str
    attributes: Attributes
    conditions: Conditions = UNCONDITIONAL
    data_key: bytes | None = None


class PartTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The part that is written."""

    bucket: str
    key: str
    upload_id: str
    number: int
    data_key: bytes | None = None


class Writer:
    """Writes objects and parts."""

    def __init__(self, index: Index, receiver: Receiver, clock: Clock) -> None:
        self._index = index
        self._receiver = receiver
        self._clock = clock

    async def put(self, target: Target, body: AsyncIterator[bytes], digests: Digests) -> ObjectVersion:
        """See ``Objects.put``."""
        encode_key(target.key)
        require_key(target.attributes.encryption, target.data_key)
        if (
            target.conditions != UNCONDITIONAL
        ):  # refuses before the body what would be refused behind it, if nothing changes
            await self._index.read(
                lambda connection: versions.check(connection, target.bucket, target.key, target.conditions)
            )
        received = await self._receiver.receive(body, digests, target.data_key, MAX_PUT, inline=True)
        draft = versions.Draft(
            size=received.size,
            etag=etag(received.md5, target.attributes.encryption),
            attributes=target.attributes,
            checksum=received.checksum,
            content=received.content,
            inline=received.inline,
        )

        def change(transaction: Transaction) -> ObjectVersion:
            transaction.retain(received.content.segments)
            return versions.add(transaction, target.bucket, target.key, draft, target.conditions, self._clock.now())

        return await self._commit(change, received)

    async def copy(
        self, source: OpenObject, target: Target, algorithm: Algorithm | None, source_key: bytes | None
    ) -> ObjectVersion:
        """See ``Objects.copy``."""
        version = source.version
        if version.size > MAX_PUT:
            raise TooLarge(MAX_PUT, version.size)
        require_key(target.attributes.encryption, target.data_key)
        source.require_key(source_key)
        kept = version.checksum
        same = algorithm is None or (kept is not None and (kept.algorithm, kept.type) == (algorithm, "FULL_OBJECT"))
        opaque = [_opaque(version.attributes.encryption), _opaque(target.attributes.encryption)]
        if same and same_key(source_key, target.data_key) and opaque[0] == opaque[1]:
            try:
                return await self._share(source, target)
            except _SourceGone:
                pass
        wanted = algorithm or (kept.algorithm if kept is not None else None)
        return await self.put(target, source.stream(key=source_key), Digests(algorithm=wanted, length=version.size))

    async def put_part(self, target: PartTarget, body: AsyncIterator[bytes], digests: Digests) -> PartInfo:
        """See ``Objects.put_part``."""
        upload = await self._upload(target)
        require_key(upload.attributes.encryption, target.data_key)
        if upload.algorithm is not None:
            if digests.expected is not None and digests.algorithm not in {None, upload.algorithm}:
                raise ChecksumTypeMismatch(upload.algorithm, str(digests.algorithm))
            digests = msgspec.structs.replace(digests, algorithm=upload.algorithm)
        received = await self._receiver.receive(body, digests, target.data_key, MAX_PUT, inline=False)
        return await self._add_part(target, upload, received, received.content.segments)

    async def copy_part(
        self, source: OpenObject, target: PartTarget, first: int, last: int | None, source_key: bytes | None
    ) -> PartInfo:
        """See ``Objects.copy_part``. The bytes are read for their MD5, but not written where they can be shared."""
        start, length = source.range(first, last)
        if length > MAX_PUT:
            raise TooLarge(MAX_PUT, length)
        upload = await self._upload(target)
        require_key(upload.attributes.encryption, target.data_key)
        source.require_key(source_key)
        body = source.stream(first, last, key=source_key)
        digests = Digests(algorithm=upload.algorithm, length=length)
        if source.content.segments and same_key(source_key, target.data_key):
            received = await self._receiver.hash(body, digests)
            try:
                return await self._add_part(target, upload, received, clip(source.content.segments, start, length))
            except _SourceGone:
                body = source.stream(first, last, key=source_key)
        return await self.put_part(target, body, digests)

    async def _share(self, source: OpenObject, target: Target) -> ObjectVersion:
        """A copy that names the same blobs."""
        version = source.version
        draft = versions.Draft(
            size=version.size,
            etag=version.etag,
            attributes=target.attributes,
            checksum=version.checksum,
            content=source.content,
            inline=source.inline,
        )

        def change(transaction: Transaction) -> ObjectVersion:
            _retain_shared(transaction, source.content.segments)
            return versions.add(transaction, target.bucket, target.key, draft, target.conditions, self._clock.now())

        return await self._commit(change)

    async def _add_part(
        self, target: PartTarget, upload: Upload, received: Received, segments: Sequence[Segment]
    ) -> PartInfo:
        info = PartInfo(
            number=target.number,
            size=received.size,
            etag=etag(received.md5, upload.attributes.encryption),
            modified=self._clock.now(),
            checksum=received.checksum,
        )
        content = Content(segments=tuple(segments))

        def change(transaction: Transaction) -> PartInfo:
            if received.blob is None:
                _retain_shared(transaction, segments)
            else:
                transaction.retain(segments)
            return uploads.add_part(transaction, target.bucket, target.key, target.upload_id, info, content)

        return await self._commit(change, received)

    async def _upload(self, target: PartTarget) -> Upload:
        found = await self._index.read(
            lambda connection: uploads.find_upload(connection, target.bucket, target.key, target.upload_id)
        )
        return found[1]

    async def _commit(self, change: Callable[[Transaction], T], received: Received | None = None) -> T:
        """Runs the transaction; the blob received is settled, or removed when the transaction has failed."""
        future = self._index.submit(change)
        try:
            return await settled(future)
        finally:
            if received is not None and received.blob is not None:
                if future.exception() is None:
                    self._receiver.settle(received.blob)
                else:
                    await self._receiver.discard(received.blob)


async def settled(future: Future[T]) -> T:
    """The outcome of a transaction. Who is cancelled while waiting gets that when the outcome is known."""
    waiting = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError as error:
            cancelled = error
    outcome = waiting.exception()
    if cancelled is not None:
        raise cancelled
    if outcome is not None:
        raise outcome
    return waiting.result()


def require_key(encryption: Encryption | None, key: bytes | None) -> None:
    """What is to be encrypted needs a key, and only that. Raises WrongKey."""
    if (encryption is None) != (key is None):
        raise WrongKey("a key goes with encryption")


def same_key(one: bytes | None, other: bytes | None) -> bool:
    """Whether bytes under one key can be read under the other."""
    return one is other if one is None or other is None else hmac.compare_digest(one, other)


def _opaque(encryption: Encryption | None) -> bool:
    return encryption is not None and encryption.mode != "AES256"


def _retain_shared(transaction: Transaction, segments: Sequence[Segment]) -> None:
    if not transaction.holds(segments):
        raise _SourceGone
    transaction.retain(segments)
