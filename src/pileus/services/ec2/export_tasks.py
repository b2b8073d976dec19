"""ExportImage: the root disk of an image as a VMDK, VHD or raw file in S3. A host converts it, ``transfers`` sends it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.keys import KeyUse, KmsError, check_use, find_key
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set, tags_for
from pileus.records import DataKey, DiskTask, Snapshot
from pileus.services.ec2.encryption import told
from pileus.services.ec2.errors import InvalidParameterValue, MissingParameter, NotFound, Unsupported
from pileus.services.ec2.import_tasks import find_tasks, message_of, status_of, tasks_of
from pileus.services.ec2.resources import IMAGE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.transfers import drawn_location

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ExportImageRequestTypeDef

_FORMATS = {"VMDK": "vmdk", "RAW": "raw", "VHD": "vpc"}
_SUFFIX = {"vmdk": "vmdk", "raw": "raw", "vpc": "vhd"}
_GIB = 1 << 30


@ec2.writes(
    "ExportImage", resources=("export-image-task:*", "image:ImageId"), idempotent=True, taggable=("export-image-task",)
)
def export_image(context: Context, params: "ExportImageRequestTypeDef") -> dict[str, Any]:
    """Exports the root volume of an image of the caller's own."""
    format_ = _FORMATS.get(params["DiskImageFormat"])
    if format_ is None:
        raise InvalidParameterValue(f"Value ({params['DiskImageFormat']}) for parameter diskImageFormat is invalid.")
    location = params["S3ExportLocation"]
    if not location.get("S3Bucket"):
        raise MissingParameter("S3Bucket")
    image = IMAGE.one(context, params["ImageId"])
    snapshot = context.view.get(Snapshot, image.snapshot_id)
    if snapshot is None:
        raise NotFound(f"The snapshot '{image.snapshot_id}' does not exist.", code="InvalidSnapshot.NotFound")
    if snapshot.root is None:
        raise Unsupported(f"The image {image.id} has no snapshot that could be exported.")
    if len(image.devices) > 1:
        raise Unsupported("Images with more than one volume can't be exported.")
    _check_key(context, snapshot)
    id_, prefix = new_id("export-ami"), location.get("S3Prefix") or ""
    task = context.tx.put(
        DiskTask(
            id=id_,
            account=context.account,
            region=context.region,
            tags=tags_for(params, "export-image-task"),
            purpose="export-image",
            created=context.now,
            arn=context.call.identity.arn,
            user_id=context.call.identity.user_id,
            bucket=location["S3Bucket"],
            object_key=f"{prefix}{id_}.{_SUFFIX[format_]}",
            url=prefix,
            format=format_,
            stage="converting",
            description=params.get("Description") or "",
            source_root=snapshot.root,
            source_bytes=snapshot.size * _GIB,
            source_key_id=snapshot.data_key_id,
            data_key_id=snapshot.data_key_id,
            image_id=image.id,
        )
    )
    return {
        **_draw(context, task),
        "DiskImageFormat": params["DiskImageFormat"],
        "RoleName": params.get("RoleName"),
    }


def _check_key(context: Context, snapshot: Snapshot) -> None:
    """Raises what EC2 says unless the caller may decrypt the snapshot, and its key is enabled."""
    data_key = context.view.get(DataKey, snapshot.data_key_id) if snapshot.data_key_id else None
    if data_key is None:
        return
    try:
        key = find_key(context.view, data_key.kms_key_arn.split(":")[4], data_key.region, data_key.kms_key_arn)
        use = KeyUse(identity=context.call.identity, operation="Decrypt", service="ebs")
        check_use(context.view, context.env.sealer, key, use)
    except KmsError as error:
        raise told(error) from error


def _draw(_context: Context, task: DiskTask) -> dict[str, Any]:
    return {
        "Description": task.description,
        "ExportImageTaskId": task.id,
        "ImageId": task.image_id,
        "Progress": str(task.progress) if status_of(task) == "active" else None,
        "S3ExportLocation": drawn_location(task),
        "Status": status_of(task),
        "StatusMessage": message_of(task),
        "Tags": tag_set(task.tags),
    }


TASKS = Listing(
    kind=DiskTask,
    member="ExportImageTasks",
    draw=_draw,
    ids="ExportImageTaskIds",
    find=lambda context, ids: find_tasks(context, ids, "export-image"),
    rows=lambda context: tasks_of(context, "export-image"),
    filters={"task-state": lambda _, task: status_of(task)},
    page=Page(least=1),
    cached=False,
)


@ec2.reads("DescribeExportImageTasks", resources=("export-image-task:ExportImageTaskIds",))
def describe_export_image_tasks(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Exports of images, those that are over for a week."""
    return TASKS.answer(context, params)
