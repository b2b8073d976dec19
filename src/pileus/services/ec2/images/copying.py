"""CopyImage: the image under a new id in the region of the call, with copies of all its snapshots."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.tags import merged, tags_for
from pileus.records import Image, Snapshot
from pileus.records.image import ImageDevice
from pileus.services.ec2.errors import NotFound, Unsupported
from pileus.services.ec2.images.listing import ImageUnavailable, visible_image
from pileus.services.ec2.images.registration import claim_name
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.copying import copy, elsewhere
from pileus.services.ec2.snapshots.creation import check_description, refuse_location
from pileus.services.ec2.snapshots.listing import usable_snapshot

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CopyImageRequestTypeDef


class InvalidRequest(ServiceError):
    """The image's data is not the caller's to copy."""

    code = "InvalidRequest"


@ec2.writes("CopyImage", resources=("image:*", "snapshot:*"), idempotent=True, taggable=("image", "snapshot"))
def copy_image(context: Context, params: "CopyImageRequestTypeDef") -> dict[str, Any]:
    """Copies an image of any configured region to the region of the call, on demand encrypted."""
    refuse_location(params)
    if params.get("DestinationAvailabilityZone") or params.get("DestinationAvailabilityZoneId"):
        raise Unsupported("There are no Local Zones in this cloud.")
    there = elsewhere(context, params["SourceRegion"])
    source = visible_image(there, params["SourceImageId"])
    if source.state != "available":
        raise ImageUnavailable(f"The AMI ID '{source.id}' is {source.state} and can't be copied.")
    id_ = new_id("ami")
    claim_name(context, params["Name"], id_)
    devices = [_device(context, there, params, source, device, id_) for device in source.devices]
    copied = [context.view.get(Snapshot, one.snapshot_id) for one in devices if one.snapshot_id]
    ready = all(one is not None and one.state == "completed" for one in copied)
    root = devices[0]
    assert root.snapshot_id is not None, "a root device has a snapshot, and so has its copy"
    tags = tags_for(params, "image")
    if params.get("CopyImageTags") and source.account == context.account:
        tags = merged(source.tags, tags)
    context.tx.put(
        replace(
            source,
            id=id_,
            account=context.account,
            region=context.region,
            version=0,
            tags=tags,
            name=params["Name"],
            description=check_description(params.get("Description", source.description)),
            created=context.now,
            family="",
            snapshot_id=root.snapshot_id,
            root=root,
            block_devices=tuple(devices[1:]),
            state="available" if ready else "pending",
            public=False,
            owner_alias=None,
            ssm_path=None,
            launch_accounts=(),
            launch_organizations=(),
            launch_units=(),
            instance_id=None,
            group="",
            source_image_id=source.id,
            source_image_region=source.region,
            deprecated=None,
            last_launched=None,
            protection="disabled",
            cooling_until=None,
        )
    )
    return {"ImageId": id_}


def _device(
    context: Context,
    there: Context,
    params: "CopyImageRequestTypeDef",
    source: Image,
    device: ImageDevice,
    image_id: str,
) -> ImageDevice:
    """A mapping with a copy of its snapshot."""
    if device.snapshot_id is None:
        return device
    try:
        snapshot = usable_snapshot(there, device.snapshot_id)
    except NotFound as error:
        raise InvalidRequest(f"You do not have permission to access the storage of the AMI {source.id}.") from error
    made = copy(
        context,
        snapshot,
        description=f"Copied for DestinationAmi {image_id} from SourceAmi {source.id} for SourceSnapshot {snapshot.id}.",
        tags=tags_for(params, "snapshot"),
        encrypted=params.get("Encrypted"),
        kms_key_id=params.get("KmsKeyId"),
    )
    return replace(device, snapshot_id=made.id)
