"""The object store: ``open_objects`` gives the S3 service and the lifecycle runner what ``interface.Objects`` says.

Several processes of one machine may have the same directory open. In it are ``index.db`` (see ``schema``), ``blobs/`` unless
the bytes are elsewhere, and ``processes/`` (see ``presence``).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from pileus.base.clock import Clock
from pileus.engines.objects import buckets, lifecycle, listing, uploads, versions
from pileus.engines.objects.blobs import Blobs, FileBlobs
from pileus.engines.objects.errors import LockNotEnabled, ObjectsError
from pileus.engines.objects.index import Index, Transaction
from pileus.engines.objects.interface import Body, Objects, Reading
from pileus.engines.objects.model import (
    NO_DIGESTS,
    UNCONDITIONAL,
    Algorithm,
    Attributes,
    Bucket,
    Checksum,
    ChecksumType,
    CompletedPart,
    Conditions,
    Delete,
    Deleted,
    Digests,
    Expired,
    Listing,
    ObjectVersion,
    PartInfo,
    PartListing,
    Retention,
    Rule,
    Upload,
    UploadListing,
    Usage,
    Versioning,
    VersionListing,
)
from pileus.engines.objects.presence import Presence
from pileus.engines.objects.reading import OpenObject
from pileus.engines.objects.reaper import Reaper
from pileus.engines.objects.receiving import Receiver
from pileus.engines.objects.rules import require_retention_change
from pileus.engines.objects.usage import read_usage
from pileus.engines.objects.writing import PartTarget, Target, Writer, settled

T = TypeVar("T")


async def open_objects(directory: Path, clock: Clock, blobs: Blobs | None = None) -> Objects:
    """Opens the store in ``directory``, which is made where it is not there. ``blobs`` None: files below it."""
    return ObjectStore(directory, clock, blobs)


class ObjectStore:
    """See ``interface.Objects`` for what each method does and raises."""

    def __init__(self, directory: Path, clock: Clock, blobs: Blobs | None) -> None:
        """Within a running event loop."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("blobs", "processes"):
            (directory / name).mkdir(mode=0o700, exist_ok=True)
        self._clock = clock
        self._executor = ThreadPoolExecutor(4, "objects")
        writers, readers = ThreadPoolExecutor(16, "objects-write"), ThreadPoolExecutor(8, "objects-read")
        self._executors = (self._executor, writers, readers)
        self._blobs = FileBlobs(directory / "blobs", writers, readers) if blobs is None else blobs
        self._presence = Presence(directory / "processes")
        self._receiver = Receiver(self._blobs, self._presence.id, self._executor)
        self._reaper = Reaper(self._blobs, self._presence, self._executor, lambda: frozenset(self._receiver.writing))
        self._index = Index(directory / "index.db", garbage=self._reaper.wake)
        self._reaper.start(self._index)
        self._writer = Writer(self._index, self._receiver, clock)

    # Buckets

    async def create_bucket(
        self,
        name: str,
        *,
        account: str,
        region: str,
        object_lock: bool = False,
        configs: Mapping[str, bytes] | None = None,
    ) -> Bucket:
        now = self._clock.now()
        return await self._write(
            lambda transaction: buckets.create_bucket(
                transaction, name, account, region, object_lock, configs or {}, now
            )
        )

    async def delete_bucket(self, name: str) -> None:
        await self._write(lambda transaction: buckets.delete_bucket(transaction, name))

    async def bucket(self, name: str) -> Bucket:
        return await self._index.read(lambda connection: buckets.read_bucket(connection, name))

    async def buckets(
        self,
        account: str | None = None,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 10_000,
        region: str | None = None,
    ) -> Sequence[Bucket]:
        return await self._index.read(
            lambda connection: buckets.list_buckets(connection, account, prefix, after, limit, region)
        )

    async def set_configs(self, name: str, configs: Mapping[str, bytes | None]) -> Bucket:
        return await self._write(lambda transaction: buckets.set_configs(transaction, name, configs))

    async def set_versioning(self, name: str, status: Versioning) -> Bucket:
        return await self._write(lambda transaction: buckets.set_versioning(transaction, name, status))

    async def enable_object_lock(self, name: str) -> Bucket:
        return await self._write(lambda transaction: buckets.enable_object_lock(transaction, name))

    # Objects

    async def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        *,
        attributes: Attributes,
        digests: Digests = NO_DIGESTS,
        conditions: Conditions = UNCONDITIONAL,
        data_key: bytes | None = None,
    ) -> ObjectVersion:
        target = Target(bucket=bucket, key=key, attributes=attributes, conditions=conditions, data_key=data_key)
        return await self._writer.put(target, body, digests)

    async def head(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        found = await self._index.read(lambda connection: versions.find(connection, bucket, key, version_id))
        return found.version

    async def open(self, bucket: str, key: str, version_id: str | None = None) -> OpenObject:
        reader = self._presence.begin()
        try:
            found = await self._index.read(
                lambda connection: versions.find(connection, bucket, key, version_id, inline=True)
            )
        except BaseException:
            self._presence.end(reader)
            raise
        return OpenObject(found, self._blobs, lambda: self._presence.end(reader))

    async def copy(
        self,
        source: Reading,
        bucket: str,
        key: str,
        *,
        attributes: Attributes,
        algorithm: Algorithm | None = None,
        conditions: Conditions = UNCONDITIONAL,
        source_key: bytes | None = None,
        data_key: bytes | None = None,
    ) -> ObjectVersion:
        target = Target(bucket=bucket, key=key, attributes=attributes, conditions=conditions, data_key=data_key)
        return await self._writer.copy(cast("OpenObject", source), target, algorithm, source_key)

    async def delete(
        self, bucket: str, deletes: Sequence[Delete], *, owner: str, bypass: bool = False
    ) -> Sequence[Deleted | ObjectsError]:
        def change(transaction: Transaction) -> Sequence[Deleted | ObjectsError]:
            now = self._clock.now()
            versions.bucket_row(transaction.connection, bucket)
            return [
                versions.delete(transaction, bucket, wanted, owner=owner, bypass=bypass, now=now) for wanted in deletes
            ]

        return await self._write(change)

    async def set_tags(
        self, bucket: str, key: str, tags: Mapping[str, str], version_id: str | None = None
    ) -> ObjectVersion:
        return await self._change(bucket, key, version_id, lambda version, _: _with(version, tags=dict(tags)))

    async def set_acl(self, bucket: str, key: str, acl: bytes, version_id: str | None = None) -> ObjectVersion:
        return await self._change(bucket, key, version_id, lambda version, _: _with(version, acl=acl))

    async def set_retention(
        self,
        bucket: str,
        key: str,
        retention: Retention | None,
        version_id: str | None = None,
        *,
        bypass: bool = False,
    ) -> ObjectVersion:
        def change(version: ObjectVersion, object_lock: bool) -> Attributes:
            if not object_lock:
                raise LockNotEnabled(bucket)
            require_retention_change(version, retention, self._clock.now(), bypass=bypass)
            return _with(version, retention=retention)

        return await self._change(bucket, key, version_id, change)

    async def set_legal_hold(self, bucket: str, key: str, hold: bool, version_id: str | None = None) -> ObjectVersion:
        def change(version: ObjectVersion, object_lock: bool) -> Attributes:
            if not object_lock:
                raise LockNotEnabled(bucket)
            return _with(version, legal_hold=hold)

        return await self._change(bucket, key, version_id, change)

    # Listings

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", max_keys: int = 1000
    ) -> Listing:
        return await self._index.read(
            lambda connection: listing.list_objects(connection, bucket, prefix, delimiter, after, max_keys)
        )

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        max_keys: int = 1000,
    ) -> VersionListing:
        markers = (key_marker, version_marker)
        return await self._index.read(
            lambda connection: listing.list_versions(connection, bucket, prefix, delimiter, markers, max_keys)
        )

    # Multipart uploads

    async def create_upload(
        self,
        bucket: str,
        key: str,
        *,
        attributes: Attributes,
        initiator: str,
        algorithm: Algorithm | None = None,
        checksum_type: ChecksumType | None = None,
    ) -> Upload:
        checksum = (algorithm, checksum_type)
        return await self._write(
            lambda transaction: uploads.create_upload(
                transaction, bucket, key, attributes, initiator, checksum, self._clock.now()
            )
        )

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        return await self._index.read(lambda connection: uploads.find_upload(connection, bucket, key, upload_id)[1])

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        digests: Digests = NO_DIGESTS,
        data_key: bytes | None = None,
    ) -> PartInfo:
        target = PartTarget(bucket=bucket, key=key, upload_id=upload_id, number=number, data_key=data_key)
        return await self._writer.put_part(target, body, digests)

    async def copy_part(
        self,
        source: Reading,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        *,
        first: int = 0,
        last: int | None = None,
        source_key: bytes | None = None,
        data_key: bytes | None = None,
    ) -> PartInfo:
        target = PartTarget(bucket=bucket, key=key, upload_id=upload_id, number=number, data_key=data_key)
        return await self._writer.copy_part(cast("OpenObject", source), target, first, last, source_key)

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[CompletedPart],
        *,
        checksum: Checksum | None = None,
        size: int | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> ObjectVersion:
        completion = uploads.Completion(parts=parts, checksum=checksum, size=size, conditions=conditions)
        return await self._write(
            lambda transaction: uploads.complete_upload(
                transaction, bucket, key, upload_id, completion, self._clock.now()
            )
        )

    async def abort_upload(self, bucket: str, key: str, upload_id: str, *, initiated: datetime | None = None) -> None:
        await self._write(lambda transaction: uploads.abort_upload(transaction, bucket, key, upload_id, initiated))

    async def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> PartListing:
        return await self._index.read(
            lambda connection: uploads.list_parts(connection, bucket, key, upload_id, after, limit)
        )

    async def list_uploads(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        upload_marker: str = "",
        limit: int = 1000,
    ) -> UploadListing:
        markers = (key_marker, upload_marker)
        return await self._index.read(
            lambda connection: listing.list_uploads(connection, bucket, prefix, delimiter, markers, limit)
        )

    # Upkeep

    async def expire(self, bucket: str, rules: Sequence[Rule], now: datetime) -> Expired:
        return await lifecycle.expire(self._index, settled, bucket, rules, now)

    async def sweep(self) -> int:
        return await self._reaper.sweep(self._index)

    async def usage(self) -> Sequence[Usage]:
        return await self._index.read(read_usage)

    async def close(self) -> None:
        await self._reaper.stop()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._index.close)
        self._presence.close()
        for executor in self._executors:
            await loop.run_in_executor(None, executor.shutdown)

    async def _write(self, function: Callable[[Transaction], T]) -> T:
        return await settled(self._index.submit(function))

    async def _change(
        self, bucket: str, key: str, version_id: str | None, function: Callable[[ObjectVersion, bool], Attributes]
    ) -> ObjectVersion:
        return await self._write(lambda transaction: versions.change(transaction, bucket, key, version_id, function))


def _with(version: ObjectVersion, **changes: object) -> Attributes:
    return msgspec.structs.replace(version.attributes, **changes)
