"""Tasks that bring disk images in from S3, or out to it."""

from datetime import datetime, timedelta
from typing import ClassVar, Literal

from pileus.records.tagged import Tagged

Purpose = Literal["import-snapshot", "import-image", "export-image"]
Stage = Literal["fetching", "converting", "sending", "completed", "failed", "cancelled"]
DONE: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
KEPT = timedelta(days=7)
"""How long a task that is over can be described."""


class DiskTask(Tagged, frozen=True, kw_only=True):
    """An import goes from ``fetching`` (S3 → block store, by the API's process) over ``converting`` (on a host) to
    ``completed`` (snapshot and image are on record); an export from ``converting`` over ``sending`` (block store → S3).

    Attributes:
        arn, user_id: who asked; it is done with that principal's rights.
        bucket, object_key: the object. url: as the call gave it, if it did. format: in lower case as the call gave it, QEMU's
            name of it otherwise; None: not said.
        source_root, source_bytes: in the block store, what is converted: a copy of the object, or the exported snapshot.
        result_root, result_bytes: an export's result, on its way out.
        data_key_id: what a new snapshot is sealed under (and the copy of the object). source_key_id: of an exported one.
        kms_key_arn: the KMS key above ``data_key_id``, kept for Describe when that has left the task.
        step: what the host says that it is doing. message: why it failed, or who cancelled it.
        snapshot_id, image_id: the result of an import; image_id: what is exported.
        name, boot_mode, architecture, root_device: of the image that comes of it.
    """

    kind: ClassVar[str] = "disk-task"
    indexes: ClassVar[tuple[str, ...]] = ("host_id", "stage")

    purpose: Purpose
    created: datetime
    arn: str
    user_id: str
    bucket: str
    object_key: str
    stage: Stage
    url: str | None = None
    format: str | None = None
    description: str = ""
    container_description: str = ""
    source_root: str | None = None
    source_bytes: int = 0
    result_root: str | None = None
    result_bytes: int = 0
    data_key_id: str | None = None
    source_key_id: str | None = None
    kms_key_arn: str | None = None
    host_id: str | None = None
    progress: int = 0
    step: str = ""
    message: str | None = None
    ended: datetime | None = None
    snapshot_id: str | None = None
    image_id: str | None = None
    name: str = ""
    boot_mode: str = "legacy-bios"
    architecture: str = "x86_64"
    root_device: str = "/dev/sda1"
    platform: str | None = None
    license_type: str | None = None
