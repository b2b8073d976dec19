"""DeregisterImage."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import Snapshot
from pileus.records.image import image_name_scope
from pileus.services.ec2.errors import OperationNotPermitted
from pileus.services.ec2.images.listing import ImageUnavailable, own_image
from pileus.services.ec2.retention import into_bin
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.deletion import SnapshotInUse, discard

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DeregisterImageRequestTypeDef


@ec2.writes("DeregisterImage", resources=("image:ImageId",))
def deregister_image(context: Context, params: "DeregisterImageRequestTypeDef") -> dict[str, Any]:
    """Ends an image, on demand with the snapshots that no other image has. Its instances live on."""
    image = own_image(context, params["ImageId"])
    if image.rebooting:
        raise ImageUnavailable(f"The AMI ID '{image.id}' is being made: its instance is being rebooted for it.")
    cooling = image.cooling_until is not None and context.now < image.cooling_until
    if image.protection != "disabled" or cooling:
        raise OperationNotPermitted(f"The AMI '{image.id}' is protected against deregistration.")
    kept = into_bin(context, image)
    if kept is not None:
        context.tx.put(kept)
    else:
        context.tx.release(image_name_scope(image.account, image.region), image.name)
        context.tx.delete(image)
    if not params.get("DeleteAssociatedSnapshots"):
        return {"Return": True}
    results = [{"SnapshotId": id_, "ReturnCode": _discard(context, id_)} for id_ in image.snapshot_ids]
    return {"Return": True, "DeleteSnapshotResults": results}


def _discard(context: Context, snapshot_id: str) -> str:
    """Deletes a snapshot of an image that is no more; says what came of it."""
    snapshot = context.view.get(Snapshot, snapshot_id)
    if snapshot is None:
        return "success"
    if snapshot.account != context.account:
        return "missing-permissions"
    try:
        discard(context, snapshot)
    except SnapshotInUse:
        return "skipped"
    except ServiceError:
        return "client-error"
    return "success"
