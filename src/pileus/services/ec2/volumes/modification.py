"""ModifyVolume and DescribeVolumesModifications.

See https://docs.aws.amazon.com/ebs/latest/userguide/modify-volume-requirements.html.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.records import Instance, Volume
from pileus.records.volume import Modification
from pileus.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    NotFound,
    UnsupportedOperation,
)
from pileus.services.ec2.resources import VOLUME
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso
from pileus.services.ec2.volume_types import MULTI_ATTACH_TYPES, NOT_FOR_BOOT, VOLUME_TYPES, Settings, settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeVolumesModificationsRequestTypeDef, ModifyVolumeRequestTypeDef

_DEFAULT_IOPS = 3000
"""Of a volume that becomes one with provisioned IOPS, when the call names none."""

_SETTINGS = ("Size", "VolumeType", "Iops", "Throughput", "MultiAttachEnabled")


class ModificationGoesOn(ServiceError):
    """The last modification is not over."""

    code = "IncorrectModificationState"


class ModifiedTooOften(ServiceError):
    """The last modification was too short a time ago."""

    code = "VolumeModificationRateExceeded"


@ec2.writes("ModifyVolume", resources=("volume:VolumeId",))
def modify_volume(context: Context, params: "ModifyVolumeRequestTypeDef") -> dict[str, Any]:
    """Changes size, type and performance, also of a volume in use. What is not named stays, or is the new type's default."""
    volume = VOLUME.one(context, params["VolumeId"])
    if not any(params.get(name) is not None for name in _SETTINGS):
        raise InvalidParameterCombination("No modification specified.")
    if volume.state not in {"available", "in-use"}:
        raise IncorrectState(f"Volume '{volume.id}' is in the '{volume.state}' state.")
    wanted = _wanted(volume, params)
    multi_attach = params.get("MultiAttachEnabled")
    _check_multi_attach(volume, wanted, multi_attach=multi_attach)
    _check_root(context, volume, wanted)
    _check_rate(context, volume)
    shared = volume.multi_attach if multi_attach is None else multi_attach
    change = Modification(
        state="modifying",
        size=(volume.size, wanted.size),
        volume_type=(volume.volume_type, wanted.volume_type),
        iops=(volume.iops, wanted.iops),
        throughput=(volume.throughput, wanted.throughput),
        multi_attach=(volume.multi_attach, shared),
        started=context.now,
    )
    changed = context.tx.put(
        replace(
            _with_guests_told(context, volume),
            size=wanted.size,
            volume_type=wanted.volume_type,
            iops=wanted.iops,
            throughput=wanted.throughput,
            multi_attach=shared,
            modification=change,
        )
    )
    return {"VolumeModification": _draw(context, changed)}


def _wanted(volume: Volume, params: Mapping[str, Any]) -> Settings:
    size = params.get("Size")
    if size is not None and size < volume.size:
        raise InvalidParameterValue("New size cannot be smaller than existing size")
    name = params.get("VolumeType", volume.volume_type)
    rules = VOLUME_TYPES.get(name)
    iops, throughput = params.get("Iops"), params.get("Throughput")
    same = name == volume.volume_type
    if rules is not None and rules.iops is not None and iops is None:
        iops = volume.iops if same else _DEFAULT_IOPS
    if rules is not None and rules.throughput is not None and throughput is None and same:
        throughput = volume.throughput
    return settings(name, volume.size if size is None else size, iops, throughput)


def _check_multi_attach(volume: Volume, wanted: Settings, *, multi_attach: bool | None) -> None:
    if volume.multi_attach and wanted.volume_type != volume.volume_type:
        raise UnsupportedOperation(f"The type of the Multi-Attach enabled volume '{volume.id}' can't be changed.")
    if multi_attach is None or multi_attach == volume.multi_attach:
        return
    if wanted.volume_type not in MULTI_ATTACH_TYPES:
        raise InvalidParameterCombination(
            f"The parameter multiAttachEnabled is not supported for {wanted.volume_type} volumes."
        )
    if volume.volume_type == "io1":
        raise UnsupportedOperation("Multi-Attach of an io1 volume can't be changed after its creation.")
    if volume.attachments:
        raise UnsupportedOperation(f"Multi-Attach of '{volume.id}' can't be changed while it is attached.")


def _check_root(context: Context, volume: Volume, wanted: Settings) -> None:
    if wanted.volume_type not in NOT_FOR_BOOT:
        return
    for attachment in volume.attachments:
        instance = context.view.get(Instance, attachment.instance_id)
        if instance is not None and instance.root_device_name == attachment.device:
            raise UnsupportedOperation(f"The root volume '{volume.id}' can't be of the type {wanted.volume_type}.")


def _check_rate(context: Context, volume: Volume) -> None:
    last = volume.modification
    if last is None:
        return
    if last.state in {"modifying", "optimizing"}:
        raise ModificationGoesOn(f"Volume '{volume.id}' is in the modification state '{last.state}'.")
    hours = context.env.config.volume_modification_wait / 3600
    if context.now < last.started + timedelta(hours=hours):
        raise ModifiedTooOften(
            f"You've reached the maximum modification rate per volume limit. Wait at least {hours:g} hours between "
            "modifications per EBS volume."
        )


def _with_guests_told(context: Context, volume: Volume) -> Volume:
    """The volume whose attachments wait for its instances' hosts to have heard of the change."""
    for attachment in volume.attachments:
        instance = context.tx.get(Instance, attachment.instance_id)
        assert instance is not None, f"{volume.id} is attached to {attachment.instance_id}, which is gone"
        told = context.tx.put(replace(instance, wiring=instance.wiring + 1))
        volume = volume.with_attachment(replace(attachment, fence=told.wiring))
    return volume


def _change(volume: Volume) -> Modification:
    assert volume.modification is not None
    return volume.modification


def _draw(_: Context, volume: Volume) -> dict[str, Any]:
    change = _change(volume)
    return {
        "VolumeId": volume.id,
        "ModificationState": change.state,
        "StatusMessage": change.message,
        "OriginalSize": change.size[0],
        "OriginalVolumeType": change.volume_type[0],
        "OriginalIops": change.iops[0],
        "OriginalThroughput": change.throughput[0],
        "OriginalMultiAttachEnabled": change.multi_attach[0],
        "TargetSize": change.size[1],
        "TargetVolumeType": change.volume_type[1],
        "TargetIops": change.iops[1],
        "TargetThroughput": change.throughput[1],
        "TargetMultiAttachEnabled": change.multi_attach[1],
        "Progress": change.progress,
        "StartTime": change.started,
        "EndTime": change.ended,
    }


def _find(context: Context, ids: Sequence[str]) -> Sequence[Volume]:
    found = VOLUME.find(context, ids)
    for volume in found:
        if volume.modification is None:
            raise NotFound(
                f"Modification for volume '{volume.id}' does not exist.", code="InvalidVolumeModification.NotFound"
            )
    return found


def _rows(context: Context) -> Sequence[Volume]:
    volumes = context.view.list(Volume, account=context.account, region=context.region)
    return [volume for volume in volumes if volume.modification is not None]


MODIFICATIONS = Listing(
    kind=Volume,
    member="VolumesModifications",
    draw=_draw,
    cached=False,
    ids="VolumeIds",
    find=_find,
    rows=_rows,
    page=Page(least=1, most=500, default=500),
    filters={
        "modification-state": lambda _, volume: _change(volume).state,
        "original-iops": lambda _, volume: _change(volume).iops[0],
        "original-size": lambda _, volume: _change(volume).size[0],
        "original-volume-type": lambda _, volume: _change(volume).volume_type[0],
        "originalMultiAttachEnabled": lambda _, volume: _change(volume).multi_attach[0],
        "start-time": lambda _, volume: iso(_change(volume).started),
        "target-iops": lambda _, volume: _change(volume).iops[1],
        "target-size": lambda _, volume: _change(volume).size[1],
        "target-volume-type": lambda _, volume: _change(volume).volume_type[1],
        "targetMultiAttachEnabled": lambda _, volume: _change(volume).multi_attach[1],
        "volume-id": lambda _, volume: volume.id,
    },
)


@ec2.reads("DescribeVolumesModifications")
def describe_volumes_modifications(
    context: Context, params: "DescribeVolumesModificationsRequestTypeDef"
) -> dict[str, Any]:
    """The latest modification of each volume that was ever modified."""
    return MODIFICATIONS.answer(context, params)
