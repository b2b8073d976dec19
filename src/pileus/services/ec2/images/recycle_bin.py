"""Images in the recycle bin."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.records import Image, Snapshot
from pileus.services.ec2.errors import IncorrectState
from pileus.services.ec2.resources import IMAGE, find_visible
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ListImagesInRecycleBinRequestTypeDef, RestoreImageFromRecycleBinRequestTypeDef


def _find(context: Context, ids: Sequence[str]) -> list[Image]:
    return find_visible(IMAGE, context, ids, lambda one: one.account == context.account and one.binned is not None)


def _rows(context: Context) -> Iterable[Image]:
    mine = context.view.list(Image, account=context.account, region=context.region)
    return [image for image in mine if image.binned is not None]


def _draw(_: Context, image: Image) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "Name": image.name,
        "Description": image.description,
        "RecycleBinEnterTime": image.binned,
        "RecycleBinExitTime": image.bin_until,
    }


_BINNED = Listing(
    kind=Image, member="Images", draw=_draw, ids="ImageIds", find=_find, rows=_rows, cached=False, filters={}
)


@ec2.reads("ListImagesInRecycleBin", resources=("image:ImageIds",))
def list_images_in_recycle_bin(context: Context, params: "ListImagesInRecycleBinRequestTypeDef") -> dict[str, Any]:
    """The caller's images that were deregistered and can be restored."""
    return _BINNED.answer(context, params)


@ec2.writes("RestoreImageFromRecycleBin", resources=("image:ImageId",))
def restore_image_from_recycle_bin(
    context: Context, params: "RestoreImageFromRecycleBinRequestTypeDef"
) -> dict[str, Any]:
    """Takes an image out of the recycle bin. It has kept its name; its snapshots must be there or be restored before."""
    image = _find(context, [params["ImageId"]])[0]
    for id_ in image.snapshot_ids:
        snapshot = context.view.get(Snapshot, id_)
        if snapshot is None or snapshot.binned is not None:
            raise IncorrectState(f"The snapshot '{id_}' of the image '{image.id}' must be restored first.")
    context.tx.put(replace(image, binned=None, bin_until=None))
    return {"Return": True}
