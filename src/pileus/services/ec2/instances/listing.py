"""DescribeInstances."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pileus.aws.protocol import Fragment
from pileus.operations.context import Context
from pileus.operations.filters import Value, absent, constant, texts
from pileus.operations.listing import Listing
from pileus.records import Instance, NetworkInterface, Vpc
from pileus.records.dns_names import public_name_in
from pileus.records.instance import CODES, BlockDevice, Reason
from pileus.services.ec2.instances.draw import (
    draw_block_devices,
    draw_instance,
    private_dns_name,
    state_reason,
)
from pileus.services.ec2.interface_drawing import draw_groups, interfaces_of
from pileus.services.ec2.interface_listing import FIELDS, InterfaceField
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeInstancesRequestTypeDef

_Field = Callable[[Context, Instance], Value]


def _of_interfaces(field: InterfaceField) -> _Field:
    """A field over all interfaces of an instance."""

    def of_all(context: Context, instance: Instance) -> list[str]:
        return [text for interface in interfaces_of(context, instance) for text in texts(field(context, interface))]

    return of_all


def _devices(pick: Callable[[BlockDevice], str]) -> _Field:
    return lambda _, instance: [pick(device) for device in instance.block_devices]


def _primary(pick: Callable[[Context, NetworkInterface], Value]) -> _Field:
    """A field of the first interface."""

    def field(context: Context, instance: Instance) -> Value:
        interfaces = interfaces_of(context, instance)
        return pick(context, interfaces[0]) if interfaces else None

    return field


def _reason(pick: Callable[[Reason], str]) -> _Field:
    return lambda _, instance: pick(reason) if (reason := state_reason(instance)) else None


def _groups(member: str) -> _Field:
    return _primary(lambda context, interface: [group[member] for group in draw_groups(context, interface)])


def _dns_name(context: Context, interface: NetworkInterface) -> str | None:
    return public_name_in(context.view.get(Vpc, interface.vpc_id), interface) or None


def _private_dns_name(context: Context, instance: Instance) -> str | None:
    interfaces = interfaces_of(context, instance)
    return private_dns_name(instance, interfaces[0]) if interfaces else None


_INTERFACE_FIELDS: dict[str, InterfaceField] = {
    **FIELDS,
    "deny-all-igw-traffic": constant(False),
    "ipv4-prefixes.ipv4-prefix": lambda _, interface: interface.ipv4_prefixes,
    "ipv6-address": lambda _, interface: interface.ipv6_addresses,
    "ipv6-addresses.is-primary-ipv6": lambda _, interface: [
        str(interface.primary_ipv6 and number == 0).lower() for number in range(len(interface.ipv6_addresses))
    ],
    "ipv6-native": constant(False),
    "ipv6-prefixes.ipv6-prefix": lambda _, interface: interface.ipv6_prefixes,
    "outpost-arn": absent,
    "public-dns-name": FIELDS["association.public-dns-name"],
    "tag-key": lambda _, interface: interface.tags,
    "tag-value": lambda _, interface: interface.tags.values(),
}

INSTANCES: Listing[Instance] = Listing(
    kind=Instance,
    member="Reservations",
    draw=draw_instance,
    ids="InstanceIds",
    find=INSTANCE.find,
    exclusive=True,
    filters={
        "affinity": absent,
        "architecture": lambda _, instance: instance.architecture,
        "availability-zone": lambda _, instance: instance.zone,
        "availability-zone-id": lambda _, instance: instance.zone_id,
        "block-device-mapping.attach-time": _devices(lambda device: iso(device.attached)),
        "block-device-mapping.delete-on-termination": _devices(lambda d: str(d.delete_on_termination).lower()),
        "block-device-mapping.device-name": _devices(lambda device: device.device_name),
        "block-device-mapping.status": lambda context, instance: [
            device["Ebs"]["Status"] for device in draw_block_devices(context, instance)
        ],
        "block-device-mapping.volume-id": _devices(lambda device: device.volume_id),
        "boot-mode": lambda _, instance: instance.boot_mode,
        "capacity-reservation-id": absent,
        "capacity-reservation-specification.capacity-reservation-preference": constant("open"),
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id": absent,
        "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn": absent,
        "client-token": lambda _, instance: instance.client_token,
        "current-instance-boot-mode": lambda _, instance: instance.boot_mode,
        "dns-name": _primary(_dns_name),
        "ebs-optimized": lambda _, instance: instance.ebs_optimized,
        "ena-support": constant("true"),
        "enclave-options.enabled": constant("false"),
        "group-id": _groups("GroupId"),
        "group-name": _groups("GroupName"),
        "hibernation-options.configured": constant("false"),
        "host-id": absent,
        "hypervisor": constant("xen"),
        "iam-instance-profile.arn": absent,
        "iam-instance-profile.id": absent,
        "iam-instance-profile.name": absent,
        "image-id": lambda _, instance: instance.image_id,
        "instance-id": lambda _, instance: instance.id,
        "instance-lifecycle": absent,
        "instance-state-code": lambda _, instance: CODES[instance.state],
        "instance-state-name": lambda _, instance: str(instance.state),
        "instance-type": lambda _, instance: instance.instance_type,
        "instance.group-id": _groups("GroupId"),
        "instance.group-name": _groups("GroupName"),
        "ip-address": _primary(FIELDS["association.public-ip"]),
        "ipv6-address": lambda context, instance: [
            address for interface in interfaces_of(context, instance) for address in interface.ipv6_addresses
        ],
        "kernel-id": absent,
        "key-name": lambda _, instance: instance.key_name,
        "launch-index": lambda _, instance: instance.launch_index,
        "launch-time": lambda _, instance: iso(instance.launched),
        "maintenance-options.auto-recovery": lambda _, instance: instance.auto_recovery,
        "metadata-options.http-endpoint": lambda _, instance: instance.metadata.endpoint,
        "metadata-options.http-protocol-ipv4": constant("enabled"),
        "metadata-options.http-protocol-ipv6": lambda _, instance: instance.metadata.ipv6,
        "metadata-options.http-put-response-hop-limit": lambda _, instance: instance.metadata.hop_limit,
        "metadata-options.http-tokens": lambda _, instance: instance.metadata.tokens,
        "metadata-options.instance-metadata-tags": lambda _, instance: instance.metadata.tags,
        "metadata-options.state": constant("applied"),
        "monitoring-state": lambda _, instance: "enabled" if instance.monitoring else "disabled",
        "network-performance-options.bandwidth-weighting": absent,
        "operator.managed": constant("false"),
        "operator.principal": absent,
        "outpost-arn": absent,
        "owner-id": lambda _, instance: instance.account,
        "placement-group-name": absent,
        "placement-partition-number": absent,
        "platform": absent,
        "platform-details": constant("Linux/UNIX"),
        "private-dns-name": _private_dns_name,
        "private-dns-name-options.enable-resource-name-dns-a-record": lambda _, i: i.resource_name_dns_a,
        "private-dns-name-options.enable-resource-name-dns-aaaa-record": lambda _, i: i.resource_name_dns_aaaa,
        "private-dns-name-options.hostname-type": lambda _, instance: instance.hostname_type,
        "private-ip-address": _primary(lambda _, interface: interface.private_address),
        "product-code": absent,
        "product-code.type": absent,
        "ramdisk-id": absent,
        "reason": lambda _, instance: instance.transition,
        "requester-id": absent,
        "reservation-id": lambda _, instance: instance.reservation_id,
        "root-device-name": lambda _, instance: instance.root_device_name,
        "root-device-type": constant("ebs"),
        "source-dest-check": _primary(lambda _, interface: interface.source_dest_check),
        "spot-instance-request-id": absent,
        "state-reason-code": _reason(lambda reason: reason.code),
        "state-reason-message": _reason(lambda reason: reason.message),
        "subnet-id": lambda _, instance: instance.subnet_id,
        "tenancy": lambda _, instance: instance.tenancy,
        "tpm-support": absent,
        "usage-operation": constant("RunInstances"),
        "usage-operation-update-time": lambda _, instance: iso(instance.launched),
        "virtualization-type": constant("hvm"),
        "vpc-id": lambda _, instance: instance.vpc_id,
        **{f"network-interface.{name}": _of_interfaces(field) for name, field in _INTERFACE_FIELDS.items()},
    },
)


def draw_reservation(context: Context, instances: Sequence[Instance]) -> dict[str, Any]:
    """Instances of one launch."""
    first = instances[0]
    return {
        "ReservationId": first.reservation_id,
        "OwnerId": first.account,
        "Groups": [],
        "Instances": [draw_instance(context, instance) for instance in instances],
    }


@ec2.reads("DescribeInstances")
def describe_instances(context: Context, params: "DescribeInstancesRequestTypeDef") -> dict[str, Any]:
    """The caller's instances, by reservation. Terminated ones stay for an hour."""
    instances, token = INSTANCES.select(context, params)
    reservations: dict[str, list[Instance]] = {}
    for instance in instances:
        reservations.setdefault(instance.reservation_id, []).append(instance)
    result: dict[str, Any] = {"Reservations": [_fragment(context, group) for group in reservations.values()]}
    if token:
        result["NextToken"] = token
    return result


def _fragment(context: Context, group: list[Instance]) -> Fragment:
    ids = [instance.id for instance in group]
    # Names of addresses depend on what the VPC says.
    vpcs = {instance.vpc_id for instance in group}
    key = (context.account, *ids, *context.view.stamps([*ids, *vpcs]))
    return Fragment(key, lambda: draw_reservation(context, group))
