"""What can go wrong with buckets and objects. Each carries its facts; the S3 service makes S3's errors of them."""

from datetime import datetime


class ObjectsError(Exception):
    """Base of all."""


class NoSuchBucket(ObjectsError):
    """No bucket of that name, or it was deleted meanwhile."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"no bucket {bucket}")
        self.bucket = bucket


class BucketExists(ObjectsError):
    """The name is taken. ``account`` owns it (may be the caller), in ``region``."""

    def __init__(self, bucket: str, account: str, region: str) -> None:
        super().__init__(f"bucket {bucket} exists")
        self.bucket = bucket
        self.account = account
        self.region = region


class BucketNotEmpty(ObjectsError):
    """It still has versions or delete markers."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket} is not empty")
        self.bucket = bucket


class VersioningRefused(ObjectsError):
    """Versioning can't be suspended in a bucket with object lock (S3: InvalidBucketState)."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket} has object lock")
        self.bucket = bucket


class LockNotEnabled(ObjectsError):
    """Retention or legal hold for an object in a bucket without object lock (S3: InvalidRequest)."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket} is missing object lock configuration")
        self.bucket = bucket


class InvalidKey(ObjectsError):
    """A key that is empty, no Unicode, or longer than 1024 bytes of UTF-8 (S3: KeyTooLongError, InvalidURI)."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no valid key: {key[:40]!r}")
        self.key = key


class NoSuchKey(ObjectsError):
    """No current object. ``delete_marker`` is the version id of the delete marker that is current, if one is."""

    def __init__(
        self, bucket: str, key: str, delete_marker: str | None = None, modified: datetime | None = None
    ) -> None:
        super().__init__(f"no object {key!r} in {bucket}")
        self.bucket = bucket
        self.key = key
        self.delete_marker = delete_marker
        self.modified = modified


class NoSuchVersion(ObjectsError):
    """The key has no version of that id."""

    def __init__(self, bucket: str, key: str, version_id: str) -> None:
        super().__init__(f"no version {version_id} of {key!r} in {bucket}")
        self.bucket = bucket
        self.key = key
        self.version_id = version_id


class IsDeleteMarker(ObjectsError):
    """The version asked for by its id is a delete marker (S3: MethodNotAllowed, with Last-Modified)."""

    def __init__(self, bucket: str, key: str, version_id: str, modified: datetime) -> None:
        super().__init__(f"version {version_id} of {key!r} in {bucket} is a delete marker")
        self.bucket = bucket
        self.key = key
        self.version_id = version_id
        self.modified = modified


class PreconditionFailed(ObjectsError):
    """A condition did not hold at the moment of the change. ``condition`` is the header's name, such as If-Match.

    If-Match for a key that has no object raises NoSuchKey instead, as S3 does.
    """

    def __init__(self, condition: str) -> None:
        super().__init__(f"{condition} does not hold")
        self.condition = condition


class ObjectLocked(ObjectsError):
    """Object lock forbids it (S3: AccessDenied). ``until`` is None for a legal hold."""

    def __init__(self, bucket: str, key: str, version_id: str, mode: str, until: datetime | None) -> None:
        super().__init__(f"version {version_id} of {key!r} in {bucket} is locked ({mode})")
        self.bucket = bucket
        self.key = key
        self.version_id = version_id
        self.mode = mode
        self.until = until


class DigestMismatch(ObjectsError):
    """The bytes received are not those announced (S3: BadDigest). ``algorithm`` is MD5 or a checksum's name.

    ``expected`` and ``calculated`` are base64.
    """

    def __init__(self, algorithm: str, expected: str, calculated: str) -> None:
        super().__init__(f"{algorithm} is {calculated}, not {expected}")
        self.algorithm = algorithm
        self.expected = expected
        self.calculated = calculated


class LengthMismatch(ObjectsError):
    """The body ended before or after the length that was announced (S3: IncompleteBody)."""

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"{received} bytes, not {expected}")
        self.expected = expected
        self.received = received


class TooLarge(ObjectsError):
    """More bytes than ``limit`` (S3: EntityTooLarge)."""

    def __init__(self, limit: int, size: int) -> None:
        super().__init__(f"{size} bytes are more than {limit}")
        self.limit = limit
        self.size = size


class NoSuchUpload(ObjectsError):
    """No such multipart upload of that key: never begun, completed or aborted."""

    def __init__(self, bucket: str, key: str, upload_id: str) -> None:
        super().__init__(f"no upload {upload_id} of {key!r} in {bucket}")
        self.bucket = bucket
        self.key = key
        self.upload_id = upload_id


class InvalidPart(ObjectsError):
    """A part named at completion is not there, or its ETag or checksum differs (S3: InvalidPart)."""

    def __init__(self, upload_id: str, number: int, etag: str) -> None:
        super().__init__(f"part {number} of upload {upload_id} is not as said")
        self.upload_id = upload_id
        self.number = number
        self.etag = etag


class InvalidPartOrder(ObjectsError):
    """The parts named at completion do not ascend."""


class PartTooSmall(ObjectsError):
    """A part other than the last has fewer than 5 MiB (S3: EntityTooSmall)."""

    def __init__(self, number: int, size: int, minimum: int) -> None:
        super().__init__(f"part {number} has {size} bytes")
        self.number = number
        self.size = size
        self.minimum = minimum


class ChecksumRequired(ObjectsError):
    """The upload was begun with a checksum algorithm and the completion names no checksum of ``number`` (composite),
    or part numbers are not consecutive from 1 (``number`` is then 0). S3: InvalidRequest."""

    def __init__(self, algorithm: str, number: int) -> None:
        super().__init__(f"the upload was created using {algorithm}; part {number} does not fit")
        self.algorithm = algorithm
        self.number = number


class ChecksumTypeMismatch(ObjectsError):
    """A part's checksum is of another algorithm than the upload's (S3: InvalidRequest)."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"the upload uses {expected}, the part {actual}")
        self.expected = expected
        self.actual = actual


class InvalidRange(ObjectsError):
    """A range to read or copy lies outside of the object."""

    def __init__(self, first: int, last: int, size: int) -> None:
        super().__init__(f"bytes {first}-{last} of {size}")
        self.first = first
        self.last = last
        self.size = size


class WrongKey(ObjectsError):
    """No key was given for encrypted bytes, one was given for plain ones, or it is another than theirs."""


class Damaged(ObjectsError):
    """Stored bytes are not what was stored. They are never returned. ``blob`` says which file."""

    def __init__(self, blob: str, reason: str) -> None:
        super().__init__(f"blob {blob}: {reason}")
        self.blob = blob
        self.reason = reason


class StorageFull(ObjectsError):
    """The file system has no room (S3: 507 or SlowDown); nothing was changed."""


class BlobsUnavailable(ObjectsError):
    """The place of the blobs, or the index, does not answer now: try again. Nothing was changed."""
