"""The configuration documents of a bucket: how they are kept, and those that others look into.

Each is kept in the object store beside the bucket, under its name, as MessagePack of the shape that the API has.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.engines.objects.model import Bucket

ACL = "acl"
CORS = "cors"
ENCRYPTION = "encryption"
LIFECYCLE = "lifecycle"
LOCK = "object-lock"
OWNERSHIP = "ownership"
POLICY = "policy"
PUBLIC_ACCESS = "public-access-block"
TAGGING = "tagging"

ENFORCED = "BucketOwnerEnforced"
BLOCK_ALL = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
"""What new buckets have (Amazon S3, since April 2023)."""


def dump(value: Any) -> bytes:
    """A document in its stored form."""
    return msgspec.msgpack.encode(value)


def load(bucket: Bucket, name: str) -> Any:
    """A bucket's document; None where it has none."""
    stored = bucket.configs.get(name)
    return None if stored is None else msgspec.msgpack.decode(stored)


def ownership(bucket: Bucket) -> str:
    """``BucketOwnerEnforced`` (no ACLs), ``BucketOwnerPreferred`` or ``ObjectWriter``."""
    rules = load(bucket, OWNERSHIP)
    return rules["Rules"][0]["ObjectOwnership"] if rules else "ObjectWriter"


def blocks(bucket: Bucket) -> Mapping[str, bool]:
    """The public access block; nothing is blocked where there is none."""
    return load(bucket, PUBLIC_ACCESS) or {}
