"""The object store as the S3 service and the lifecycle runner see it. ``open_objects`` (``store.py``) makes one.

Values are in ``model``, errors in ``errors``. Every change is durable when its call returns, and atomic: readers, also of
other processes, see the old or the new state. Every method may raise NoSuchBucket, BlobsUnavailable and StorageFull.

Encryption: where ``attributes.encryption`` is set, ``key`` is the 32-byte data key (SSE-S3, SSE-KMS) or customer key (SSE-C)
under which the engine encrypts what it stores. It is never stored; the same key must be given to read. WrongKey otherwise.

Bodies are asynchronous iterators of bytes of any length. An exception that one raises (a bad chunk signature, a client gone)
ends the call with that exception, and nothing is changed.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from pileus.engines.objects.errors import ObjectsError
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

Body = AsyncIterator[bytes]


class Reading(Protocol):
    """An object opened for reading. Until it is closed its bytes stay, whatever becomes of the object.

    ``async with await objects.open(...) as reading:`` or call ``close`` when the last byte was sent.
    """

    @property
    def version(self) -> ObjectVersion: ...

    def stream(self, first: int = 0, last: int | None = None, *, key: bytes | None = None) -> AsyncIterator[bytes]:
        """Bytes ``first`` to ``last`` (inclusive; None: to the end). Raises InvalidRange, WrongKey, Damaged.

        Every piece was checked before it is yielded. An empty object can be read with first = 0 and last None only.
        """
        ...

    async def close(self) -> None:
        """Lets go. May be called twice."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Objects(Protocol):
    """Buckets, objects and uploads."""

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
        """Object lock implies versioning. Raises BucketExists."""
        ...

    async def delete_bucket(self, name: str) -> None:
        """Raises BucketNotEmpty. Unfinished uploads do not keep a bucket: they are aborted with it, as S3 does."""
        ...

    async def bucket(self, name: str) -> Bucket:
        """Cheap: every request asks."""
        ...

    async def buckets(
        self,
        account: str | None = None,
        *,
        prefix: str = "",
        after: str = "",
        limit: int = 10_000,
        region: str | None = None,
    ) -> Sequence[Bucket]:
        """By name, those greater than ``after``; of one account or (None) all."""
        ...

    async def set_configs(self, name: str, configs: Mapping[str, bytes | None]) -> Bucket:
        """Replaces the named documents, None removes one; the others stay."""
        ...

    async def set_versioning(self, name: str, status: Versioning) -> Bucket:
        """``Enabled`` or ``Suspended``. Raises VersioningRefused."""
        ...

    async def enable_object_lock(self, name: str) -> Bucket:
        """For a bucket that exists. Raises VersioningRefused when versioning is not enabled."""
        ...

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
        """Stores an object of at most MAX_PUT bytes.

        Raises DigestMismatch, LengthMismatch, TooLarge, PreconditionFailed, NoSuchKey (If-Match without an object),
        LockNotEnabled, WrongKey.
        """
        ...

    async def head(self, bucket: str, key: str, version_id: str | None = None) -> ObjectVersion:
        """Never a delete marker. Raises NoSuchKey, NoSuchVersion, IsDeleteMarker."""
        ...

    async def open(self, bucket: str, key: str, version_id: str | None = None) -> Reading:
        """As ``head``, with the bytes. Check the version that is opened, not an earlier head."""
        ...

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
        """Copies what ``source`` has open (it stays open); attributes are all as given.

        No byte is copied when both data keys are the same (or None) and ``algorithm`` is None or the source's own full
        checksum: so an SSE-S3 copy is cheap with the source's data key and ``wrapped`` taken over. ``algorithm`` None
        keeps the source's checksum. The copy has one part, and an MD5 ETag where the source's was of parts only if the
        bytes had to be read. Raises TooLarge and what ``put`` raises.
        """
        ...

    async def delete(
        self, bucket: str, deletes: Sequence[Delete], *, owner: str, bypass: bool = False
    ) -> Sequence[Deleted | ObjectsError]:
        """Deletes in one transaction; each has its own outcome, in order, and errors are returned, not raised.

        ``bypass`` lets governance retention pass (not compliance, not a legal hold). Outcomes: Deleted, ObjectLocked,
        PreconditionFailed, NoSuchKey (If-Match where nothing is). Deleting what is not there succeeds.
        """
        ...

    async def set_tags(
        self, bucket: str, key: str, tags: Mapping[str, str], version_id: str | None = None
    ) -> ObjectVersion:
        """Raises what ``head`` raises."""
        ...

    async def set_acl(self, bucket: str, key: str, acl: bytes, version_id: str | None = None) -> ObjectVersion:
        """Raises what ``head`` raises."""
        ...

    async def set_retention(
        self,
        bucket: str,
        key: str,
        retention: Retention | None,
        version_id: str | None = None,
        *,
        bypass: bool = False,
    ) -> ObjectVersion:
        """Raises what ``head`` raises, LockNotEnabled, ObjectLocked when a stricter one is in force."""
        ...

    async def set_legal_hold(self, bucket: str, key: str, hold: bool, version_id: str | None = None) -> ObjectVersion:
        """Raises what ``head`` raises, LockNotEnabled."""
        ...

    # Listings. ``max_keys`` counts keys and common prefixes; 0 gives an empty page that is not truncated.

    async def list(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", max_keys: int = 1000
    ) -> Listing:
        """Current objects greater than ``after`` (S3's marker, start-after and what is in a continuation token)."""
        ...

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
        """Versions after (key_marker, version_marker); without the latter, those of keys greater than key_marker."""
        ...

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
        """Every part must be put under one and the same data key where ``attributes.encryption`` is set."""
        ...

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Raises NoSuchUpload."""
        ...

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
        """Stores or replaces a part. Its checksum is of the upload's algorithm where that has one (``digests.algorithm``
        None takes it, as does another that nothing is ``expected`` of). Raises NoSuchUpload, ChecksumTypeMismatch, and what
        ``put`` raises of bodies."""
        ...

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
        """A part from (a range of) an object. Raises NoSuchUpload, InvalidRange, TooLarge, WrongKey."""
        ...

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
        """Makes the object of the parts, in one transaction, without touching a byte. Done once more, it gives the same.

        ``checksum`` is that of the object as the client has it, ``size`` its length (x-amz-mp-object-size). Raises
        NoSuchUpload, InvalidPart, InvalidPartOrder, PartTooSmall, ChecksumRequired, DigestMismatch, LengthMismatch,
        TooLarge, PreconditionFailed, NoSuchKey.
        """
        ...

    async def abort_upload(self, bucket: str, key: str, upload_id: str, *, initiated: datetime | None = None) -> None:
        """``initiated`` is the condition x-amz-if-match-initiated-time. Raises NoSuchUpload, PreconditionFailed."""
        ...

    async def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> PartListing:
        """Raises NoSuchUpload."""
        ...

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
        """Uploads after (key_marker, upload_marker)."""
        ...

    # Upkeep

    async def expire(self, bucket: str, rules: Sequence[Rule], now: datetime) -> Expired:
        """Does what the lifecycle rules of a bucket ask for at ``now``. Locked versions stay."""
        ...

    async def sweep(self) -> int:
        """Removes blobs that nothing names and nobody is writing (left by killed processes); their number."""
        ...

    async def usage(self) -> Sequence[Usage]:
        """What all buckets hold, for metering. Reads the whole index."""
        ...

    async def close(self) -> None:
        """Finishes what was begun."""
        ...
