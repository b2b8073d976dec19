"""ImportSnapshot, ImportImage and their tasks. What the call says is put on record; ``transfers`` fetches the object, a host
converts it, and the controllers make snapshot and image of the result.

See https://docs.aws.amazon.com/vm-import/latest/userguide/what-is-vmimport.html.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import Field
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set, tags_for
from pileus.records import DiskTask
from pileus.records.disk_task import DONE
from pileus.services.ec2.encryption import encryption_of, kms_key_of
from pileus.services.ec2.errors import InvalidParameterValue, MissingParameter, Unsupported
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CancelImportTaskRequestTypeDef

_FORMATS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}
_CHOICES: Mapping[str, Sequence[str]] = {
    "Architecture": ("x86_64",),
    "BootMode": ("legacy-bios", "uefi", "uefi-preferred"),
    "Platform": ("Linux", "Windows"),
    "LicenseType": ("AWS", "BYOL"),
}
_REGIONAL = re.compile(r"s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")


class TaskNotFound(ServiceError):
    """There is no such task of the caller's."""

    code = "InvalidConversionTaskId"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The object that a call names."""

    bucket: str
    key: str
    url: str | None = None
    format: str | None = None


def source_of(container: Mapping[str, Any]) -> Source:
    """What a disk container names. Raises InvalidParameterValue, MissingParameter."""
    given = container.get("Format")
    if given is not None and given.lower() not in _FORMATS:
        raise InvalidParameterValue(f"The given disk format {given} is not supported.")
    format_ = None if given is None else _FORMATS[given.lower()]
    bucket: Mapping[str, Any] | None = container.get("UserBucket")
    url = container.get("Url")
    if (bucket is None) == (url is None):
        raise InvalidParameterValue("A disk container has either a UserBucket or a Url.")
    if bucket is not None:
        for name in ("S3Bucket", "S3Key"):
            if not bucket.get(name):
                raise MissingParameter(name)
        return Source(bucket=bucket["S3Bucket"], key=bucket["S3Key"], format=format_)
    assert url is not None
    name, key = _split(url)
    if not name or not key:
        raise InvalidParameterValue(f"The URL {url} does not name an object of S3.")
    return Source(bucket=name, key=key, url=url, format=format_)


def _split(url: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key`` or of an ``https`` URL of S3; empty where it is neither."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    path = parts.path.lstrip("/")
    if parts.scheme == "s3":
        return parts.netloc, path
    host = parts.hostname or ""
    if parts.scheme == "https" and _REGIONAL.fullmatch(host):
        bucket, _, key = path.partition("/")
        return bucket, unquote(key)
    bucket, _, rest = host.partition(".s3")
    if parts.scheme == "https" and _REGIONAL.fullmatch(f"s3{rest}"):
        return bucket, unquote(path)
    return "", ""


@ec2.writes(
    "ImportSnapshot", resources=("import-snapshot-task:*",), idempotent=True, taggable=("import-snapshot-task",)
)
def import_snapshot(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A snapshot of a disk image in S3."""
    container = params.get("DiskContainer")
    if container is None:
        raise MissingParameter("DiskContainer")
    source = source_of(container)
    task = _put(context, params, "import-snapshot", source, container, encrypted=params.get("Encrypted"))
    return {
        "ImportTaskId": task.id,
        "Description": task.description,
        "SnapshotTaskDetail": _detail(task),
        "Tags": tag_set(task.tags),
    }


@ec2.writes("ImportImage", resources=("import-image-task:*",), idempotent=True, taggable=("import-image-task",))
def import_image(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """An image of one disk image in S3. It boots by the firmware."""
    containers: Sequence[Mapping[str, Any]] = params.get("DiskContainers") or ()
    if len(containers) != 1:
        raise Unsupported("This cloud imports images of exactly one disk.")
    if containers[0].get("SnapshotId"):
        raise Unsupported("Use RegisterImage to make an image of a snapshot.")
    for name, allowed in _CHOICES.items():
        if params.get(name) is not None and params[name] not in allowed:
            raise InvalidParameterValue(f"Value ({params[name]}) for parameter {name} is invalid.")
    source = source_of(containers[0])
    task = _put(context, params, "import-image", source, containers[0], encrypted=params.get("Encrypted"))
    task = context.tx.put(
        replace(
            task,
            boot_mode=params.get("BootMode") or "legacy-bios",
            platform=params.get("Platform"),
            license_type=params.get("LicenseType"),
            root_device=containers[0].get("DeviceName") or task.root_device,
        )
    )
    told = _draw_image(context, task)
    del told["BootMode"]
    return told


def _put(
    context: Context,
    params: Mapping[str, Any],
    purpose: str,
    source: Source,
    container: Mapping[str, Any],
    *,
    encrypted: bool | None,
) -> DiskTask:
    data_key_id = encryption_of(context, encrypted, params.get("KmsKeyId"))
    prefix = "import-snap" if purpose == "import-snapshot" else "import-ami"
    return context.tx.put(
        DiskTask(
            id=new_id(prefix),
            account=context.account,
            region=context.region,
            tags=tags_for(params, f"{purpose}-task"),
            purpose="import-snapshot" if purpose == "import-snapshot" else "import-image",
            created=context.now,
            arn=context.call.identity.arn,
            user_id=context.call.identity.user_id,
            bucket=source.bucket,
            object_key=source.key,
            url=source.url,
            format=source.format,
            stage="fetching",
            description=params.get("Description") or "",
            container_description=container.get("Description") or "",
            data_key_id=data_key_id,
            kms_key_arn=kms_key_of(context, data_key_id),
        )
    )


@ec2.writes("CancelImportTask", resources=("import-image-task:ImportTaskId",))
def cancel_import_task(context: Context, params: "CancelImportTaskRequestTypeDef") -> dict[str, Any]:
    """Ends a task that is not over. Raises TaskNotFound."""
    id_ = params.get("ImportTaskId")
    if not id_:
        raise MissingParameter("ImportTaskId")
    task = find(context, id_)
    if task.stage in DONE:
        raise InvalidParameterValue(f"The import task {task.id} is {status_of(task)} and can't be cancelled.")
    before = status_of(task)
    ended = replace(
        task,
        stage="cancelled",
        message=params.get("CancelReason") or "Cancelled by the user.",
        ended=context.now,
        host_id=None,
        source_root=None,
        result_root=None,
        data_key_id=None,
    )
    context.tx.put(ended)
    return {"ImportTaskId": task.id, "PreviousState": before, "State": "deleting"}


def find(context: Context, id_: str) -> DiskTask:
    """The caller's task. Raises TaskNotFound."""
    task = context.view.get(DiskTask, id_)
    if task is None or (task.account, task.region) != (context.account, context.region):
        raise TaskNotFound(f"The task ID '{id_}' does not exist")
    return task


def status_of(task: DiskTask) -> str:
    """The Status of the API: a task that failed or was cancelled is ``deleted``, and its message says why."""
    if task.stage == "completed":
        return "completed"
    return "deleted" if task.stage in DONE else "active"


def message_of(task: DiskTask) -> str | None:
    """The StatusMessage."""
    if task.message is not None:
        return task.message
    match task.stage:
        case "fetching":
            return "pending" if task.progress == 0 else "downloading/converting"
        case "converting":
            return "downloading/converting" if task.step in {"", "fetching"} else "converting"
        case "sending":
            return "uploading"
        case _:
            return None


def _container(task: DiskTask) -> dict[str, Any]:
    drawn: dict[str, Any] = {"Format": (task.format or "").upper().replace("VPC", "VHD") or None, "Url": task.url}
    if task.url is None:
        drawn["UserBucket"] = {"S3Bucket": task.bucket, "S3Key": task.object_key}
    return drawn


def _detail(task: DiskTask) -> dict[str, Any]:
    open_ = task.stage not in DONE
    return {
        **_container(task),
        "Description": task.container_description,
        "DiskImageSize": float(task.source_bytes),
        "Encrypted": task.kms_key_arn is not None,
        "KmsKeyId": task.kms_key_arn,
        "Progress": str(task.progress) if open_ else None,
        "SnapshotId": task.snapshot_id,
        "Status": status_of(task),
        "StatusMessage": message_of(task),
    }


def _draw_snapshot(_context: Context, task: DiskTask) -> dict[str, Any]:
    return {
        "ImportTaskId": task.id,
        "Description": task.description,
        "SnapshotTaskDetail": _detail(task),
        "Tags": tag_set(task.tags),
    }


def _draw_image(_context: Context, task: DiskTask) -> dict[str, Any]:
    open_ = task.stage not in DONE
    return {
        "ImportTaskId": task.id,
        "Architecture": task.architecture,
        "BootMode": task.boot_mode,
        "Description": task.description,
        "Encrypted": task.kms_key_arn is not None,
        "KmsKeyId": task.kms_key_arn,
        "ImageId": task.image_id,
        "LicenseType": task.license_type,
        "Platform": task.platform or "Linux",
        "Progress": str(task.progress) if open_ else None,
        "SnapshotDetails": [
            {
                **_container(task),
                "DeviceName": task.root_device,
                "DiskImageSize": float(task.source_bytes),
                "SnapshotId": task.snapshot_id,
                "Status": status_of(task),
            }
        ],
        "Status": status_of(task),
        "StatusMessage": message_of(task),
        "Tags": tag_set(task.tags),
    }


def find_tasks(context: Context, ids: Sequence[str], purpose: str) -> Sequence[DiskTask]:
    """The caller's tasks of these ids and purpose. Raises TaskNotFound."""
    found = [find(context, id_) for id_ in ids]
    for task in found:
        if task.purpose != purpose:
            raise TaskNotFound(f"The task ID '{task.id}' does not exist")
    return found


def tasks_of(context: Context, purpose: str) -> Sequence[DiskTask]:
    """All of the caller's tasks of a purpose."""
    tasks = context.view.list(DiskTask, account=context.account, region=context.region)
    return [task for task in tasks if task.purpose == purpose]


_FILTERS: Mapping[str, Field[DiskTask]] = {
    "task-state": lambda _, task: status_of(task),
}
SNAPSHOTS = Listing(
    kind=DiskTask,
    member="ImportSnapshotTasks",
    draw=_draw_snapshot,
    ids="ImportTaskIds",
    find=lambda context, ids: find_tasks(context, ids, "import-snapshot"),
    rows=lambda context: tasks_of(context, "import-snapshot"),
    filters=_FILTERS,
    page=Page(least=1),
    cached=False,
)
IMAGES = Listing(
    kind=DiskTask,
    member="ImportImageTasks",
    draw=_draw_image,
    ids="ImportTaskIds",
    find=lambda context, ids: find_tasks(context, ids, "import-image"),
    rows=lambda context: tasks_of(context, "import-image"),
    filters=_FILTERS,
    page=Page(least=1),
    cached=False,
)


@ec2.reads("DescribeImportSnapshotTasks", resources=("import-snapshot-task:ImportTaskIds",))
def describe_import_snapshot_tasks(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Imports of snapshots, those that are over for a week."""
    return SNAPSHOTS.answer(context, params)


@ec2.reads("DescribeImportImageTasks", resources=("import-image-task:ImportTaskIds",))
def describe_import_image_tasks(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Imports of images, those that are over for a week."""
    return IMAGES.answer(context, params)
