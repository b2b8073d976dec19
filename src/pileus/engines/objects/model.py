"""What the object store knows of buckets, objects, uploads and lifecycle rules: values, without I/O.

Times are aware, in UTC. ETags have no quotes. Checksum values are base64 as on the wire, a composite one ends in
``-<number of parts>``. Keys are any text whose UTF-8 has at most 1024 bytes, and are ordered by those bytes.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

Versioning = Literal["", "Enabled", "Suspended"]
Algorithm = Literal["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
ChecksumType = Literal["FULL_OBJECT", "COMPOSITE"]
RetentionMode = Literal["GOVERNANCE", "COMPLIANCE"]

NULL = "null"
"""The version id of what was written without versioning."""

MAX_PUT = 5 * 1024**3
"""Bytes that one put, one part or one copy may have (AWS: 5 GiB)."""
MAX_OBJECT = 50 * 1024**4
"""Bytes of an object made of parts (AWS: 50 TB since December 2025)."""
MIN_PART = 5 * 1024**2


class Bucket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bucket. ``object_lock`` can't be taken back. ``configs`` are documents of the service's own making, by name."""

    name: str
    account: str
    region: str
    created: datetime
    versioning: Versioning = ""
    object_lock: bool = False
    configs: Mapping[str, bytes] = {}


class Checksum(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object's or a part's checksum."""

    algorithm: Algorithm
    value: str
    type: ChecksumType = "FULL_OBJECT"


class Encryption(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an object's bytes are encrypted, as far as it may be known. Opaque to the engine but for ``mode``.

    ``mode``: ``AES256`` (SSE-S3), ``aws:kms``, ``aws:kms:dsse`` or ``customer`` (SSE-C). ``wrapped`` is the data key as
    wrapped by whoever can unwrap it. An object under another mode than AES256 has an ETag that is no MD5, as in S3.
    """

    mode: str
    kms_key: str = ""
    wrapped: bytes = b""
    context: str = ""
    bucket_key: bool = False
    customer_key_md5: str = ""


class Retention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Object lock's retention."""

    mode: RetentionMode
    until: datetime


class Attributes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What goes with an object's bytes. ``headers`` by lower-case name (content-type, cache-control, expires,
    x-amz-website-redirect-location …), ``metadata`` without the x-amz-meta- prefix; ``acl`` is a document of the service."""

    owner: str = ""
    headers: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    storage_class: str = "STANDARD"
    acl: bytes = b""
    encryption: Encryption | None = None
    retention: Retention | None = None
    legal_hold: bool = False


class PartInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of an upload, or of an object that was made of parts."""

    number: int
    size: int
    etag: str
    modified: datetime
    checksum: Checksum | None = None


class ObjectVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a key: an object or a delete marker."""

    bucket: str
    key: str
    version_id: str = NULL
    latest: bool = True
    delete_marker: bool = False
    modified: datetime
    size: int = 0
    etag: str = ""
    attributes: Attributes = Attributes()
    checksum: Checksum | None = None
    parts: tuple[PartInfo, ...] = ()
    """Only of objects made by a multipart upload."""
    upload_id: str = ""
    """The multipart upload that made it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a listing."""

    key: str
    version_id: str
    latest: bool
    delete_marker: bool
    modified: datetime
    size: int
    etag: str
    storage_class: str
    owner: str
    checksum_algorithm: Algorithm | None = None
    checksum_type: ChecksumType | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of current objects. ``next_after`` (set when truncated) is the ``after`` of the next page: the last key or
    common prefix of this page (S3's NextMarker)."""

    entries: tuple[Entry, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_after: str = ""


class VersionListing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of versions, newest first within a key; entries with ``delete_marker`` are delete markers.

    ``next_key`` and ``next_version_id`` (set when truncated) are the markers of the next page; the latter is empty when
    the page ended with a common prefix.
    """

    entries: tuple[Entry, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_key: str = ""
    next_version_id: str = ""


class Upload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An unfinished multipart upload."""

    bucket: str
    key: str
    upload_id: str
    initiated: datetime
    initiator: str
    attributes: Attributes
    algorithm: Algorithm | None = None
    checksum_type: ChecksumType | None = None


class UploadListing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of unfinished uploads, by key, then by the time they began; markers as in ``VersionListing``."""

    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    truncated: bool
    next_key: str = ""
    next_upload_id: str = ""


class PartListing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of an upload's parts."""

    upload: Upload
    parts: tuple[PartInfo, ...]
    truncated: bool
    next_number: int = 0


class Digests(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be calculated, and compared, of a body while it streams.

    ``algorithm`` is calculated and kept with the object. ``expected`` is its base64 value, or a function that is called
    when the body has ended and returns it (a trailer), or None where nothing was announced. ``md5`` is Content-MD5.
    ``length`` is the number of bytes that the body must have.
    """

    algorithm: Algorithm | None = None
    expected: str | Callable[[], str | None] | None = None
    md5: str | None = None
    length: int | None = None


class Conditions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Conditions of a change, evaluated in the transaction that makes it, against the current version.

    ``if_match`` an ETag or ``*``; ``if_none_match`` ``*`` or an ETag. ``modified`` (to the second) and ``size`` are those
    of conditional deletes.
    """

    if_match: str | None = None
    if_none_match: str | None = None
    modified: datetime | None = None
    size: int | None = None


NO_DIGESTS = Digests()
UNCONDITIONAL = Conditions()


class CompletedPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part as the completion of an upload names it."""

    number: int
    etag: str
    checksum: str | None = None
    """Of the upload's algorithm."""


class Delete(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One deletion. Without ``version_id``: the object where there is no versioning, else a delete marker is put."""

    key: str
    version_id: str | None = None
    conditions: Conditions = UNCONDITIONAL


class Deleted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a deletion did. ``delete_marker``: one was made, or the version deleted was one; ``version_id`` is its id or
    that of the version deleted. Both are unset where the bucket never had versioning, or nothing was there."""

    key: str
    version_id: str | None = None
    delete_marker: bool = False


class RuleFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which objects a lifecycle rule is for; sizes are exclusive bounds in bytes, as in S3."""

    prefix: str = ""
    tags: Mapping[str, str] = {}
    larger_than: int | None = None
    smaller_than: int | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An enabled lifecycle rule. Days count from creation to the next midnight UTC, as in S3."""

    id: str = ""
    filter: RuleFilter = RuleFilter()
    days: int | None = None
    date: datetime | None = None
    expired_delete_marker: bool = False
    noncurrent_days: int | None = None
    newer_noncurrent_versions: int | None = None
    abort_days: int | None = None


class Expired(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a lifecycle run did."""

    objects: int = 0
    """Current versions deleted, or covered by a delete marker."""
    versions: int = 0
    """Noncurrent versions deleted for good."""
    markers: int = 0
    uploads: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bucket holds, all versions and parts of unfinished uploads."""

    bucket: str
    account: str
    storage_class: str
    objects: int
    size: int
