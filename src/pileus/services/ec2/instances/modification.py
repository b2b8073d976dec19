"""ModifyInstanceAttribute: one attribute at a time, by its own parameter or by Attribute and Value."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.catalogue import InstanceType, instance_type
from pileus.operations.context import Context
from pileus.records import Image, Instance, Volume
from pileus.records.instance import BlockDevice, State
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.errors import (
    IncorrectInstanceState,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    Unsupported,
)
from pileus.services.ec2.instances.run import decode_user_data
from pileus.services.ec2.instances.store_disks import with_store
from pileus.services.ec2.interface_creation import check_groups
from pileus.services.ec2.interface_drawing import interfaces_of
from pileus.services.ec2.network_interfaces import only_interface
from pileus.services.ec2.resources import INSTANCE, SUBNET
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifyInstanceAttributeRequestTypeDef

Change = Callable[[Context, Instance, Any], None]
"""Writes the new value of an attribute, or refuses it."""


class InvalidInstanceAttributeValue(ServiceError):
    """A value that this very instance can't have."""

    code = "InvalidInstanceAttributeValue"


class Modifiable(msgspec.Struct, frozen=True):
    """An attribute that can be changed.

    Attributes:
        parameter: the one that gives the value in its own shape.
        read: a value given as text; None where it has to come in its own shape.
        stopped: whether the instance must be stopped.
    """

    parameter: str
    change: Change
    read: Callable[[str], Any] | None
    stopped: bool = False


def check_stopped(instance: Instance) -> None:
    """Raises IncorrectInstanceState unless the instance is stopped."""
    if instance.state is not State.STOPPED:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'stopped' state.")


def _flag(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise InvalidParameterValue(f"Value ({text}) for parameter value is invalid. Expecting 'true' or 'false'.")
    return text.lower() == "true"


def _sets(field: str) -> Change:
    """A change of one field of the record, whose values are all allowed."""

    def change(context: Context, instance: Instance, value: Any) -> None:
        context.tx.put(replace(instance, **{field: value}))

    return change


def _keeps(name: str, only: object) -> Change:
    """The change of an attribute that has one value here and can be given no other."""

    def change(_context: Context, _instance: Instance, value: Any) -> None:
        if value != only:
            raise Unsupported(f"The value '{value}' of the attribute {name} is not available in this cloud.")

    return change


def _change_shutdown_behavior(context: Context, instance: Instance, value: str) -> None:
    if value not in {"stop", "terminate"}:
        raise InvalidParameterValue(
            f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid. "
            "Expecting 'stop' or 'terminate'."
        )
    context.tx.put(replace(instance, shutdown_behavior=value))


def _change_user_data(context: Context, instance: Instance, value: bytes | str) -> None:
    """Bytes are user data itself; text, as Value gives it, is base64."""
    text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    context.tx.put(replace(instance, user_data=decode_user_data(text)))


def _change_type(context: Context, instance: Instance, name: str) -> None:
    type_ = instance_type(name)
    if type_ is None:
        raise InvalidParameterValue(f"The following supplied instance types do not exist: [{name}]")
    _check_type(context, instance, type_)
    # What was asked of the processor belongs to the old type, as on EC2.
    changed = replace(instance, instance_type=name, core_count=None, threads_per_core=None)
    context.tx.put(with_store(changed, type_, context.env.config))


def _check_type(context: Context, instance: Instance, type_: InstanceType) -> None:
    if instance.architecture not in type_.architectures:
        raise InvalidParameterValue(
            f"The architecture '{','.join(type_.architectures)}' of the specified instance type does not match the "
            f"architecture '{instance.architecture}' of the instance."
        )
    image = context.view.get(Image, instance.image_id)
    if image is not None and type_.memory_mib < image.min_memory:
        raise Unsupported(
            f"The image {image.id} needs {image.min_memory} MiB of memory; {type_.name} has {type_.memory_mib}."
        )
    interfaces = len(interfaces_of(context, instance))
    if interfaces > type_.network.maximum_network_interfaces:
        raise LimitExceeded(
            f"Interface count {interfaces} exceeds the limit for {type_.name}", code="AttachmentLimitExceeded"
        )
    _check_ebs_optimized(type_, wanted=instance.ebs_optimized)


def _check_ebs_optimized(type_: InstanceType, *, wanted: bool) -> None:
    if wanted and type_.ebs.ebs_optimized_support == "unsupported":
        raise Unsupported("EBS-optimized instances are not supported for your requested configuration.")


def _change_ebs_optimized(context: Context, instance: Instance, value: bool) -> None:
    type_ = instance_type(instance.instance_type)
    assert type_ is not None, f"{instance.id} has a type that the catalogue lost: {instance.instance_type}"
    _check_ebs_optimized(type_, wanted=value)
    context.tx.put(replace(instance, ebs_optimized=value))


def _change_source_dest_check(context: Context, instance: Instance, value: bool) -> None:
    context.tx.put(replace(only_interface(context, instance), source_dest_check=value))


def _change_groups(context: Context, instance: Instance, ids: Sequence[str]) -> None:
    if not ids:
        raise MissingParameter("groupSet")
    interface = only_interface(context, instance)
    groups = check_groups(context, SUBNET.one(context, interface.subnet_id), ids)
    context.tx.put(replace(interface, groups=groups))


def _change_devices(context: Context, instance: Instance, mappings: Sequence[Mapping[str, Any]]) -> None:
    """Whether volumes go with the instance: kept with the volume's attachment too, as DescribeVolumes tells it."""
    kept: dict[str, bool] = {}
    devices = {device.device_name: device for device in instance.block_devices}
    for mapping in mappings:
        device = _device(devices, mapping)
        kept[device.volume_id] = mapping.get("Ebs", {}).get("DeleteOnTermination", True)
    for volume_id, delete in kept.items():
        volume = context.tx.get(Volume, volume_id)
        assert volume is not None, f"{instance.id} has a volume that is gone: {volume_id}"
        attachments = tuple(
            replace(attachment, delete_on_termination=delete) if attachment.instance_id == instance.id else attachment
            for attachment in volume.attachments
        )
        context.tx.put(replace(volume, attachments=attachments))
    changed = tuple(
        replace(device, delete_on_termination=kept.get(device.volume_id, device.delete_on_termination))
        for device in instance.block_devices
    )
    context.tx.put(replace(instance, block_devices=changed))


def _device(devices: Mapping[str, BlockDevice], mapping: Mapping[str, Any]) -> BlockDevice:
    name = mapping.get("DeviceName", "")
    if mapping.get("NoDevice") is not None or mapping.get("VirtualName"):
        raise InvalidParameterCombination(f"Only DeleteOnTermination of the device '{name}' can be modified.")
    volume = mapping.get("Ebs", {}).get("VolumeId")
    if name not in devices or (volume and volume != devices[name].volume_id):
        raise InvalidInstanceAttributeValue(f"No device is currently mapped at {name}")
    return devices[name]


_MODIFIABLE: Mapping[str, Modifiable] = {
    "blockDeviceMapping": Modifiable("BlockDeviceMappings", _change_devices, None),
    "disableApiStop": Modifiable("DisableApiStop", _sets("disable_api_stop"), _flag),
    "disableApiTermination": Modifiable("DisableApiTermination", _sets("disable_api_termination"), _flag),
    "ebsOptimized": Modifiable("EbsOptimized", _change_ebs_optimized, _flag, stopped=True),
    "enaSupport": Modifiable("EnaSupport", _keeps("enaSupport", only=True), _flag, stopped=True),
    "enclaveOptions": Modifiable("EnclaveOptions", _keeps("enclaveOptions", only=False), None, stopped=True),
    "groupSet": Modifiable("Groups", _change_groups, None),
    "instanceInitiatedShutdownBehavior": Modifiable(
        "InstanceInitiatedShutdownBehavior", _change_shutdown_behavior, str
    ),
    "instanceType": Modifiable("InstanceType", _change_type, str, stopped=True),
    "kernel": Modifiable("Kernel", _keeps("kernel", only=""), str, stopped=True),
    "ramdisk": Modifiable("Ramdisk", _keeps("ramdisk", only=""), str, stopped=True),
    "sourceDestCheck": Modifiable("SourceDestCheck", _change_source_dest_check, _flag),
    "sriovNetSupport": Modifiable("SriovNetSupport", _keeps("sriovNetSupport", only=""), str, stopped=True),
    "userData": Modifiable("UserData", _change_user_data, str, stopped=True),
}


def _inner(given: Any) -> Any:
    """The value out of the structure around it. Raises MissingParameter."""
    if not isinstance(given, Mapping):
        return given
    for member in ("Value", "Enabled"):
        if member in given:
            return given[member]  # pyright: ignore[reportUnknownVariableType] - any of the attributes' types
    raise MissingParameter("value")


def _asked(params: Mapping[str, Any]) -> tuple[str, Any]:
    """The attribute that the call changes, and its new value."""
    given = {name: _inner(params[one.parameter]) for name, one in _MODIFIABLE.items() if one.parameter in params}
    named = params.get("Attribute")
    if named is not None and named not in given:
        read = attribute(_MODIFIABLE, named).read
        if read is None or params.get("Value") is None:
            raise MissingParameter("value" if read else attribute(_MODIFIABLE, named).parameter)
        given[named] = read(params["Value"])
    if not given:
        raise InvalidParameterCombination("No attributes specified.")
    if len(given) > 1:
        raise InvalidParameterCombination(f"Fields for multiple attribute types specified: {', '.join(given)}")
    return next(iter(given.items()))


@ec2.writes("ModifyInstanceAttribute", resources=("instance:InstanceId", "security-group:Groups"))
def modify_instance_attribute(context: Context, params: "ModifyInstanceAttributeRequestTypeDef") -> dict[str, Any]:
    """Changes one attribute; some only while the instance is stopped."""
    instance = INSTANCE.one(context, params["InstanceId"])
    name, value = _asked(params)
    modifiable = _MODIFIABLE[name]
    if modifiable.stopped:
        check_stopped(instance)
    elif not instance.live:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is in the '{instance.state}' state for ever.")
    modifiable.change(context, instance, value)
    return {}
