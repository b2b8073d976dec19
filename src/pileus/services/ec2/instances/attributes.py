"""The attributes of an instance by name: describing one, and resetting those that have a default."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Instance
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.instances.draw import draw_block_devices
from pileus.services.ec2.instances.modification import check_stopped
from pileus.services.ec2.interface_drawing import draw_groups, interfaces_of
from pileus.services.ec2.network_interfaces import only_interface
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeInstanceAttributeRequestTypeDef, ResetInstanceAttributeRequestTypeDef


@ec2.reads("DescribeInstanceAttribute", resources=("instance:InstanceId",))
def describe_instance_attribute(context: Context, params: "DescribeInstanceAttributeRequestTypeDef") -> dict[str, Any]:
    """One attribute of an instance. What it does not have is an empty structure."""
    instance = INSTANCE.one(context, params["InstanceId"])
    member, value = attribute(_attributes(context, instance), params["Attribute"])
    return {"InstanceId": instance.id, member: value}


def _attributes(context: Context, instance: Instance) -> Mapping[str, tuple[str, Any]]:
    """By attribute name: the member of the answer, and its value."""
    interfaces = interfaces_of(context, instance)
    primary = interfaces[0] if interfaces else None
    return {
        "blockDeviceMapping": ("BlockDeviceMappings", draw_block_devices(context, instance)),
        "disableApiStop": ("DisableApiStop", {"Value": instance.disable_api_stop}),
        "disableApiTermination": ("DisableApiTermination", {"Value": instance.disable_api_termination}),
        "ebsOptimized": ("EbsOptimized", {"Value": instance.ebs_optimized}),
        "enaSupport": ("EnaSupport", {"Value": True}),
        "enclaveOptions": ("EnclaveOptions", {"Enabled": False}),
        "groupSet": ("Groups", draw_groups(context, primary) if primary else []),
        "instanceInitiatedShutdownBehavior": (
            "InstanceInitiatedShutdownBehavior",
            {"Value": instance.shutdown_behavior},
        ),
        "instanceType": ("InstanceType", {"Value": instance.instance_type}),
        "kernel": ("KernelId", {}),
        "productCodes": ("ProductCodes", []),
        "ramdisk": ("RamdiskId", {}),
        "rootDeviceName": ("RootDeviceName", {"Value": instance.root_device_name}),
        "sourceDestCheck": ("SourceDestCheck", {"Value": primary.source_dest_check} if primary else {}),
        "sriovNetSupport": ("SriovNetSupport", {}),
        "userData": ("UserData", {"Value": instance.user_data} if instance.user_data else {}),
    }


@ec2.writes("ResetInstanceAttribute", resources=("instance:InstanceId",))
def reset_instance_attribute(context: Context, params: "ResetInstanceAttributeRequestTypeDef") -> dict[str, Any]:
    """Back to the default: source/destination checking is on; kernel and RAM disk are the image's, as always here."""
    instance = INSTANCE.one(context, params["InstanceId"])
    match params["Attribute"]:
        case "sourceDestCheck":
            context.tx.put(replace(only_interface(context, instance), source_dest_check=True))
        case "kernel" | "ramdisk":
            check_stopped(instance)
        case other:
            raise InvalidParameterValue(
                f"Value ({other}) for parameter attribute is invalid. Expecting 'kernel', 'ramdisk' or 'sourceDestCheck'."
            )
    return {}
