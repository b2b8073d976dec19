"""DescribeInstances."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pileus.aws.protocol import Fragment
from pileus.operations.context import Context
from pileus.operations.filters import Value, absent, constant
from pileus.operations.listing import Listing
from pileus.records import Instance, NetworkInterface, Vpc
from pileus.records.dns_names import private_name, public_name_in
from pileus.records.instance import CODES, BlockDevice, Reason
from pileus.services.ec2.instances.draw import (
    draw_block_devices,
    draw_instance,
    interfaces_of,
    private_dns_name,
    state_reason,
)
from pileus.services.ec2.network_interfaces import draw_groups
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeInstancesRequestTypeDef

_Field = Callable[[Context, Instance], Value]


def _interfaces(pick: Callable[[NetworkInterface], str | bool | int | Iterable[str] | None]) -> _Field:
    """A field over all interfaces of an instance."""

    def field(context: Context, instance: Instance) -> list[str]:
        texts: list[str] = []
        for interface in interfaces_of(context, instance):
            value = pick(interface)
            if isinstance(value, bool):
                texts.append(str(value).lower())
            elif isinstance(value, (str, int)):
                texts.append(str(value))
            elif value is not None:
                texts.extend(value)
        return texts

    return field


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


_INTERFACE_FIELDS: dict[str, _Field] = {
    "addresses.association.allocation-id": _interfaces(lambda interface: interface.primary.address_id),
    "addresses.association.association-id": _interfaces(lambda interface: interface.primary.association_id),
    "addresses.association.carrier-ip": absent,
    "addresses.association.customer-owned-ip": absent,
    "addresses.association.ip-owner-id": _interfaces(lambda interface: interface.public_owner(interface.primary)),
    "addresses.association.public-dns-name": _primary(_dns_name),
    "addresses.association.public-ip": _interfaces(lambda interface: interface.public_address),
    "addresses.primary": _interfaces(lambda _: True),
    "addresses.private-dns-name": _interfaces(lambda i: private_name(i.region, i.private_address)),
    "addresses.private-ip-address": _interfaces(lambda interface: interface.private_address),
    "association.allocation-id": _interfaces(lambda interface: interface.primary.address_id),
    "association.association-id": _interfaces(lambda interface: interface.primary.association_id),
    "association.carrier-ip": absent,
    "association.customer-owned-ip": absent,
    "association.ip-owner-id": _interfaces(lambda interface: interface.public_owner(interface.primary)),
    "association.public-dns-name": _primary(_dns_name),
    "association.public-ip": _interfaces(lambda interface: interface.public_address),
    "attachment.attach-time": _interfaces(lambda i: iso(i.attachment.attached) if i.attachment else None),
    "attachment.attachment-id": _interfaces(lambda i: i.attachment.id if i.attachment else None),
    "attachment.delete-on-termination": _interfaces(
        lambda i: i.attachment.delete_on_termination if i.attachment else None
    ),
    "attachment.device-index": _interfaces(lambda i: i.attachment.device_index if i.attachment else None),
    "attachment.instance-id": _interfaces(lambda interface: interface.instance_id),
    "attachment.instance-owner-id": _interfaces(lambda interface: interface.account),
    "attachment.network-card-index": _interfaces(lambda _: 0),
    "attachment.status": _interfaces(lambda i: i.attachment.status if i.attachment else None),
    "availability-zone": _interfaces(lambda interface: interface.zone),
    "deny-all-igw-traffic": _interfaces(lambda _: False),
    "description": _interfaces(lambda interface: interface.description),
    "group-id": _interfaces(lambda interface: interface.groups),
    "group-name": lambda context, instance: [
        group["GroupName"]
        for interface in interfaces_of(context, instance)
        for group in draw_groups(context, interface)
    ],
    "ipv4-prefixes.ipv4-prefix": absent,
    "ipv6-address": absent,
    "ipv6-addresses.ipv6-address": absent,
    "ipv6-addresses.is-primary-ipv6": absent,
    "ipv6-native": _interfaces(lambda _: False),
    "ipv6-prefixes.ipv6-prefix": absent,
    "mac-address": _interfaces(lambda interface: interface.mac),
    "network-interface-id": _interfaces(lambda interface: interface.id),
    "operator.managed": _interfaces(lambda _: False),
    "operator.principal": absent,
    "outpost-arn": absent,
    "owner-id": _interfaces(lambda interface: interface.account),
    "private-dns-name": _interfaces(lambda i: private_name(i.region, i.private_address)),
    "private-ip-address": _interfaces(lambda interface: interface.private_address),
    "public-dns-name": _primary(_dns_name),
    "requester-id": _interfaces(lambda interface: interface.requester_id),
    "requester-managed": _interfaces(lambda interface: interface.requester_id is not None),
    "source-dest-check": _interfaces(lambda interface: interface.source_dest_check),
    "status": _interfaces(lambda interface: interface.status),
    "subnet-id": _interfaces(lambda interface: interface.subnet_id),
    "tag-key": _interfaces(lambda interface: interface.tags),
    "tag-value": _interfaces(lambda interface: interface.tags.values()),
    "vpc-id": _interfaces(lambda interface: interface.vpc_id),
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
        "ip-address": _primary(lambda _, interface: interface.public_address),
        "ipv6-address": absent,
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
        "network-interface.outpost-arn": absent,
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
        "private-dns-name-options.enable-resource-name-dns-aaaa-record": constant("false"),
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
        **{f"network-interface.{name}": field for name, field in _INTERFACE_FIELDS.items()},
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
    key = (context.account, *ids, *context.view.stamps(ids))
    return Fragment(key, lambda: draw_reservation(context, group))
