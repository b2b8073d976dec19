"""Amazon S3 over the object store of ``pileus.engines.objects``. Importing the package declares all of its operations.

``gate`` decides who may; ``attributes``, ``checksums``, ``conditions`` and ``encryption`` read requests; the other modules
are the operations, by resource.
"""

from pileus.services.s3 import (
    acls,
    buckets,
    configuration,
    copy,
    cors,
    delete,
    get,
    lifecycle,
    listing,
    lock,
    multipart,
    put,
    tagging,
)
from pileus.services.s3.service import s3

__all__ = [
    "acls",
    "buckets",
    "configuration",
    "copy",
    "cors",
    "delete",
    "get",
    "lifecycle",
    "listing",
    "lock",
    "multipart",
    "put",
    "s3",
    "tagging",
]
