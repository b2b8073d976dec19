"""An instance in the shape of the API."""

from typing import Any

from pileus.catalogue import instance_type
from pileus.operations.context import Context
from pileus.operations.tags import tag_set
from pileus.records import Instance, NetworkInterface, Volume, Vpc
from pileus.records.dns_names import private_name, public_name_in, resource_name
from pileus.records.instance import CODES, Reason, State
from pileus.services.ec2.interface_drawing import draw_groups, draw_instance_interface, interfaces_of


def draw_state(state: State) -> dict[str, Any]:
    """A state with its code."""
    return {"Code": CODES[state], "Name": str(state)}


def private_dns_name(instance: Instance, primary: NetworkInterface | None) -> str:
    """The name of an instance inside its VPC; empty once it has no interface."""
    if primary is None:
        return ""
    if instance.hostname_type == "resource-name":
        return resource_name(instance.region, instance.id)
    return private_name(instance.region, primary.private_address)


def core_options(instance: Instance) -> tuple[int, int]:
    """Cores and threads per core, as asked for or as the type has them."""
    type_ = instance_type(instance.instance_type)
    assert type_ is not None, f"{instance.id} has a type that the catalogue lost: {instance.instance_type}"
    cores = instance.core_count or type_.cpu.default_cores
    return cores, instance.threads_per_core or type_.cpu.default_threads_per_core


def draw_metadata_options(instance: Instance) -> dict[str, Any]:
    """The metadata options of an instance."""
    options = instance.metadata
    return {
        "State": "applied",
        "HttpTokens": options.tokens,
        "HttpPutResponseHopLimit": options.hop_limit,
        "HttpEndpoint": options.endpoint,
        "HttpProtocolIpv6": options.ipv6,
        "InstanceMetadataTags": options.tags,
    }


_PENDING = Reason(code="pending", message="pending")


def state_reason(instance: Instance) -> Reason | None:
    """Why an instance is in its state; one that is being launched or started says so."""
    return _PENDING if instance.state is State.PENDING else instance.reason


def draw_instance(context: Context, instance: Instance) -> dict[str, Any]:
    """One instance, as DescribeInstances and RunInstances have it."""
    interfaces = interfaces_of(context, instance)
    primary = interfaces[0] if interfaces else None
    cores, threads = core_options(instance)
    drawn: dict[str, Any] = {
        "InstanceId": instance.id,
        "ImageId": instance.image_id,
        "State": draw_state(instance.state),
        "PrivateDnsName": private_dns_name(instance, primary),
        "PublicDnsName": "",
        "StateTransitionReason": instance.transition,
        "KeyName": instance.key_name,
        "AmiLaunchIndex": instance.launch_index,
        "ProductCodes": [],
        "InstanceType": instance.instance_type,
        "LaunchTime": instance.launched,
        "Placement": {
            "AvailabilityZone": instance.zone,
            "AvailabilityZoneId": instance.zone_id,
            "GroupName": "",
            "Tenancy": instance.tenancy,
        },
        "Monitoring": {"State": "enabled" if instance.monitoring else "disabled"},
        "Architecture": instance.architecture,
        "RootDeviceType": "ebs",
        "RootDeviceName": instance.root_device_name,
        "BlockDeviceMappings": draw_block_devices(context, instance),
        "VirtualizationType": "hvm",
        "ClientToken": instance.client_token or "",
        "Hypervisor": "xen",
        "EbsOptimized": instance.ebs_optimized,
        "EnaSupport": True,
        "SecurityGroups": draw_groups(context, primary) if primary else [],
        "NetworkInterfaces": [draw_instance_interface(context, interface) for interface in interfaces],
        "CpuOptions": {"CoreCount": cores, "ThreadsPerCore": threads},
        "CapacityReservationSpecification": {"CapacityReservationPreference": "open"},
        "HibernationOptions": {"Configured": False},
        "MetadataOptions": draw_metadata_options(instance),
        "EnclaveOptions": {"Enabled": False},
        "BootMode": instance.boot_mode,
        "CurrentInstanceBootMode": instance.boot_mode,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "UsageOperationUpdateTime": instance.launched,
        "PrivateDnsNameOptions": {
            "HostnameType": instance.hostname_type,
            "EnableResourceNameDnsARecord": instance.resource_name_dns_a,
            "EnableResourceNameDnsAAAARecord": instance.resource_name_dns_aaaa,
        },
        "MaintenanceOptions": {"AutoRecovery": instance.auto_recovery},
        "Operator": {"Managed": False},
        "Tags": tag_set(instance.tags),
    }
    if reason := state_reason(instance):
        drawn["StateReason"] = {"Code": reason.code, "Message": reason.message}
    if primary is not None:
        drawn |= {
            "SubnetId": instance.subnet_id,
            "VpcId": instance.vpc_id,
            "PrivateIpAddress": primary.private_address,
            "PublicIpAddress": None if primary.primary.carrier else primary.public_address,
            "Ipv6Address": primary.ipv6_addresses[0] if primary.ipv6_addresses else None,
            "PublicDnsName": public_name_in(context.view.get(Vpc, instance.vpc_id), primary),
            "SourceDestCheck": primary.source_dest_check,
        }
    return drawn


def draw_block_devices(context: Context, instance: Instance) -> list[dict[str, Any]]:
    """The volumes of an instance by device name."""
    drawn: list[dict[str, Any]] = []
    for device in instance.block_devices:
        volume = context.view.get(Volume, device.volume_id)
        attachment = volume.attachment_to(instance.id) if volume else None
        if attachment is None:
            continue
        drawn.append(
            {
                "DeviceName": device.device_name,
                "Ebs": {
                    "VolumeId": device.volume_id,
                    # "busy" is a state of the volume's alone.
                    "Status": "detaching" if attachment.leaving else attachment.status,
                    "AttachTime": device.attached,
                    "DeleteOnTermination": device.delete_on_termination,
                },
            }
        )
    return drawn
