"""The bucket of another S3 in which the objects' bytes are kept, where the configuration names one (``[objects]``).

Called by ``plan`` (is it right?) when the cloud is started, and by ``serve`` in the api process. botocore is imported only
where another S3 is configured: it takes a while.
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pileus.base.config import Config, ObjectsConfig
from pileus.cmd.errors import CloudError
from pileus.cmd.layout import Layout
from pileus.cmd.privileges import CONTROL_UID
from pileus.engines.objects.errors import BlobsUnavailable, StorageFull
from pileus.engines.objects.remote_blobs import RemoteBlobs, RemoteWriter

if TYPE_CHECKING:
    from pileus.aws.remote_blobs import RemoteBucket

SECRET_KEY = "PILEUS_OBJECTS_SECRET_KEY"  # noqa: S105 - its name
"""The environment variable that may hold the other S3's secret access key instead of a file."""
_HERE = "this machine"


def check_objects(layout: Layout, settings: Config) -> str | None:
    """Looks at the configuration before the cloud starts: the secret, the bucket, and that no objects are left behind.

    Returns what to tell the operator when the other S3 does not answer now. The cloud starts all the same: reads and writes
    of objects get ServiceUnavailable until it does.

    Raises:
        CloudError: there is no secret, the other S3 refuses, or the objects are elsewhere.
        OSError: a file can't be read.
    """
    _check_place(layout, settings)
    wanted = settings.objects
    if wanted is None:
        return None
    from pileus.aws.remote_blobs import BucketAnswer, connect, try_out

    if wanted.certificates is not None:
        _check_readable(layout, Path(wanted.certificates))
    client = connect(wanted, _secret(layout, wanted), patience=5, attempts=1)
    answer, reason = try_out(client, wanted.bucket, f"{wanted.prefix}trial-{layout.identity().cloud_id}")
    if answer is BucketAnswer.REFUSED:
        raise CloudError(f"[objects]: {wanted.endpoint} refuses to keep anything in {wanted.bucket}: {reason}")
    if answer is BucketAnswer.SILENT:
        return f"[objects]: {wanted.endpoint} does not answer now: {reason}"
    return None


class Elsewhere:
    """The other S3 as the object store's ``blobs``."""

    def __init__(self, blobs: RemoteBlobs, bucket: "RemoteBucket") -> None:
        self.blobs = blobs
        self._bucket = bucket

    async def close(self) -> None:
        """After the object store was closed."""
        await self._bucket.close()


def open_elsewhere(layout: Layout, settings: Config) -> Elsewhere | None:
    """For the api process; None where the bytes are below the data directory. Raises what ``check_objects`` does."""
    _check_place(layout, settings)
    wanted = settings.objects
    if wanted is None:
        return None
    from pileus.aws.remote_blobs import RemoteBucket, connect

    client = connect(wanted, _secret(layout, wanted))
    bucket = RemoteBucket(client, wanted.bucket, unavailable=BlobsUnavailable, full=StorageFull)
    # Two clouds in one bucket must not take the other's bytes for what was left behind.
    prefix = f"{wanted.prefix}{layout.identity().cloud_id}/"
    return Elsewhere(_NotedBlobs(bucket, prefix, _note(layout), _place(wanted)), bucket)


class _NotedBlobs(RemoteBlobs):
    """Before the first bytes are written, it is noted where, so that they can't be lost sight of."""

    def __init__(self, bucket: "RemoteBucket", prefix: str, note: Path, place: str) -> None:
        super().__init__(bucket, prefix)
        self._note: Path | None = None if note.exists() else note
        self._place = place

    async def create(self, name: str) -> RemoteWriter:
        if self._note is not None:
            fresh = self._note.with_suffix(".new")
            fresh.write_text(self._place)
            fresh.replace(self._note)
            self._note = None
        return await super().create(name)


def _check_place(layout: Layout, settings: Config) -> None:
    """Raises CloudError."""
    place, kept = _place(settings.objects), _kept_at(layout)
    if kept is not None and kept != place:
        raise CloudError(
            f"The objects of this cloud are on {kept}; config.toml says: on {place}. Set it back: they are not moved."
        )


def _place(settings: ObjectsConfig | None) -> str:
    """Where the bytes are, in words; without the endpoint, which may get another name."""
    return _HERE if settings is None else f"another S3, bucket {settings.bucket}, prefix {settings.prefix!r}"


def _note(layout: Layout) -> Path:
    return layout.objects / "place"


def _kept_at(layout: Layout) -> str | None:
    """Where the bytes of objects are; None: there are none yet."""
    note = _note(layout)
    if note.exists():
        return note.read_text()
    return _HERE if any(path.is_file() for path in (layout.objects / "blobs").rglob("*")) else None


def _secret(layout: Layout, settings: ObjectsConfig) -> str:
    """The secret access key. Raises CloudError, OSError."""
    if settings.secret_key_file is None:
        secret, source = os.environ.get(SECRET_KEY, ""), SECRET_KEY
    else:
        source = settings.secret_key_file
        _check_readable(layout, Path(source))
        secret = Path(source).read_text(errors="replace").strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise CloudError(f"[objects]: there is no secret access key in {source}")
    return secret


def _check_readable(layout: Layout, path: Path) -> None:
    """Root reads everything, the control plane does not: told now, not by a process that ends again and again.

    Raises CloudError, OSError.
    """
    found = path.stat()
    if os.geteuid() != 0:
        return
    closed = not path.absolute().is_relative_to(layout.root) and any(
        not above.stat().st_mode & stat.S_IXOTH for above in path.absolute().parents
    )
    if closed or not found.st_mode & _reading(found):
        raise CloudError(f"[objects]: uid {CONTROL_UID} may not read {path}")


def _reading(found: os.stat_result) -> int:
    """The bit of a mode that lets the control plane read."""
    if found.st_uid == CONTROL_UID:
        return stat.S_IRUSR
    return stat.S_IRGRP if found.st_gid == CONTROL_UID else stat.S_IROTH
