"""How volumes are: DescribeVolumeStatus, EnableVolumeIO and the attributes of a volume.

A volume is impaired when its host can't give its data to a guest: the key is disabled, a file is damaged, the source of a
volume that still fills is unreachable for good.
"""

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.filters import Value
from pileus.operations.listing import Listing
from pileus.records import Volume
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.errors import MissingParameter
from pileus.services.ec2.resources import VOLUME
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso
from pileus.services.ec2.volumes.listing import zone_id

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeVolumeAttributeRequestTypeDef,
        DescribeVolumeStatusRequestTypeDef,
        EnableVolumeIORequestTypeDef,
        ModifyVolumeAttributeRequestTypeDef,
    )

_REASON = re.compile(r"(?:Client|Server)\.[A-Za-z.]+[A-Za-z]")
_PROVISIONED = frozenset({"io1", "io2", "gp3"})
_EVENT_TYPE = "potential-data-inconsistency"
_ACTION = "enable-volume-io"
_ACTION_TEXT = "Enable volume I/O"


def _state(volume: Volume) -> str:
    if volume.failure is not None or volume.state == "error":
        return "impaired"
    return "insufficient-data" if volume.state == "creating" else "ok"


def _performance(volume: Volume) -> str:
    """I/O performance is told of volumes with provisioned IOPS, while an instance has them."""
    if volume.volume_type not in _PROVISIONED or not volume.attachments:
        return "not-applicable"
    return "stalled" if volume.failure is not None else "normal"


def _details(volume: Volume) -> list[dict[str, str]]:
    details = [
        {"Name": "io-enabled", "Status": "failed" if volume.failure is not None else "passed"},
        {"Name": "io-performance", "Status": _performance(volume)},
    ]
    if volume.source_root is not None:
        details.append({"Name": "initialization-state", "Status": "completed" if volume.filled else "initializing"})
    return details


def _event_id(volume: Volume) -> str:
    return f"evol-{sha256(f'{volume.id} {volume.failed}'.encode()).hexdigest()[:17]}"


def _event_text(volume: Volume) -> str:
    found = _REASON.search(volume.failure or "")
    return f"The volume's data can't be accessed ({found[0]})" if found else "The volume's data can't be accessed"


def _events(volume: Volume) -> list[dict[str, Any]]:
    if volume.failure is None:
        return []
    return [
        {
            "EventId": _event_id(volume),
            "EventType": _EVENT_TYPE,
            "Description": _event_text(volume),
            "NotBefore": volume.failed,
            "InstanceId": attachment.instance_id if attachment else None,
        }
        for attachment in volume.attachments or (None,)
    ]


def _has_action(volume: Volume) -> bool:
    return volume.failure is not None and not volume.auto_enable_io


def _draw(_: Context, volume: Volume) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "VolumeId": volume.id,
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_id(volume),
        "VolumeStatus": {"Status": _state(volume), "Details": _details(volume)},
        "Events": _events(volume),
        "Actions": [
            {"Code": _ACTION, "Description": _ACTION_TEXT, "EventId": _event_id(volume), "EventType": _EVENT_TYPE}
        ]
        if _has_action(volume)
        else [],
        "AttachmentStatuses": [
            {"InstanceId": one.instance_id, "IoPerformance": _performance(volume)} for one in volume.attachments
        ],
        "Operator": {"Managed": False},
    }
    if volume.source_root is not None:
        drawn["InitializationStatusDetails"] = {
            "InitializationType": "default",
            "Progress": 100 if volume.filled else 0,
        }
    return drawn


def _in_action(value: str) -> Any:
    def field(_: Context, volume: Volume) -> Value:
        return value if _has_action(volume) else None

    return field


VOLUME_STATUSES = Listing(
    kind=Volume,
    member="VolumeStatuses",
    draw=_draw,
    cached=False,
    ids="VolumeIds",
    find=VOLUME.find,
    exclusive=True,
    filters={
        "action.code": _in_action(_ACTION),
        "action.description": _in_action(_ACTION_TEXT),
        "action.event-id": lambda _, volume: _event_id(volume) if _has_action(volume) else None,
        "action.event-type": _in_action(_EVENT_TYPE),
        "attachment-status.instance-id": lambda _, volume: volume.instance_id,
        "attachment-status.io-performance": lambda _, volume: [_performance(volume) for _ in volume.attachments],
        "availability-zone": lambda _, volume: volume.zone,
        "availability-zone-id": lambda _, volume: zone_id(volume),
        "event.description": lambda _, volume: [event["Description"] for event in _events(volume)],
        "event.event-id": lambda _, volume: [event["EventId"] for event in _events(volume)],
        "event.event-type": lambda _, volume: [event["EventType"] for event in _events(volume)],
        "event.not-after": lambda _context, _volume: None,
        "event.not-before": lambda _, volume: iso(volume.failed) if volume.failure and volume.failed else None,
        "volume-status.details-name": lambda _, volume: [detail["Name"] for detail in _details(volume)],
        "volume-status.details-status": lambda _, volume: [detail["Status"] for detail in _details(volume)],
        "volume-status.status": lambda _, volume: _state(volume),
    },
)


@ec2.reads("DescribeVolumeStatus")
def describe_volume_status(context: Context, params: "DescribeVolumeStatusRequestTypeDef") -> dict[str, Any]:
    """Whether volumes can be read and written, and what happened where one can't."""
    return VOLUME_STATUSES.answer(context, params)


@ec2.writes("EnableVolumeIO", resources=("volume:VolumeId",))
def enable_volume_io(context: Context, params: "EnableVolumeIORequestTypeDef") -> dict[str, Any]:
    """Takes the impairment of a volume back. Where it still holds, its host says so again when the volume is next needed."""
    volume = VOLUME.one(context, params["VolumeId"])
    context.tx.put(replace(volume, failure=None, failed=None))
    return {}


@ec2.reads("DescribeVolumeAttribute", resources=("volume:VolumeId",))
def describe_volume_attribute(context: Context, params: "DescribeVolumeAttributeRequestTypeDef") -> dict[str, Any]:
    """One attribute of a volume."""
    volume = VOLUME.one(context, params["VolumeId"])
    attributes: dict[str, tuple[str, Any]] = {
        "autoEnableIO": ("AutoEnableIO", {"Value": volume.auto_enable_io}),
        "productCodes": ("ProductCodes", []),
    }
    member, value = attribute(attributes, params["Attribute"])
    return {"VolumeId": volume.id, member: value}


@ec2.writes("ModifyVolumeAttribute", resources=("volume:VolumeId",))
def modify_volume_attribute(context: Context, params: "ModifyVolumeAttributeRequestTypeDef") -> dict[str, Any]:
    """Whether a volume that was impaired comes back by itself."""
    volume = VOLUME.one(context, params["VolumeId"])
    wanted = params.get("AutoEnableIO", {}).get("Value")
    if wanted is None:
        raise MissingParameter("autoEnableIO")
    context.tx.put(replace(volume, auto_enable_io=wanted))
    return {}
