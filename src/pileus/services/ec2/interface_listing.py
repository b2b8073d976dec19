"""DescribeNetworkInterfaces, and the fields of interfaces that its filters and those of DescribeInstances look at."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.filters import Value, absent, constant, texts
from pileus.operations.listing import Listing
from pileus.records import NatGateway, NetworkInterface
from pileus.records.network_interface import PrivateAddress
from pileus.services.ec2.interface_drawing import (
    attachment_of,
    draw_association,
    draw_groups,
    draw_interface,
    interface_private_name,
    zone_id_of,
)
from pileus.services.ec2.resources import NETWORK_INTERFACE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeNetworkInterfacesRequestTypeDef

InterfaceField = Callable[[Context, NetworkInterface], Value]


def _all(
    pick: Callable[[Context, NetworkInterface, PrivateAddress], str | bool | None],
) -> InterfaceField:
    """A field over all private IPv4 addresses of an interface."""

    def field(context: Context, interface: NetworkInterface) -> Iterable[str]:
        return [text for one in interface.addresses for text in texts(pick(context, interface, one))]

    return field


def _primary(pick: Callable[[Context, NetworkInterface, PrivateAddress], Value]) -> InterfaceField:
    """A field of the primary private IPv4 address."""
    return lambda context, interface: pick(context, interface, interface.primary)


def _public(_: Context, _interface: NetworkInterface, one: PrivateAddress) -> str | None:
    return None if one.carrier else one.public


def _carrier(_: Context, _interface: NetworkInterface, one: PrivateAddress) -> str | None:
    return one.public if one.carrier else None


def _owner(_: Context, interface: NetworkInterface, one: PrivateAddress) -> str | None:
    return interface.public_owner(one)


def _allocation(_: Context, _interface: NetworkInterface, one: PrivateAddress) -> str | None:
    return one.address_id


def _association(_: Context, _interface: NetworkInterface, one: PrivateAddress) -> str | None:
    return one.association_id


def _public_name(context: Context, interface: NetworkInterface, one: PrivateAddress) -> str | None:
    association = draw_association(context, interface, one) or {}
    return association.get("PublicDnsName") or None


def _attached(member: str) -> InterfaceField:
    def field(_: Context, interface: NetworkInterface) -> Value:
        return (attachment_of(interface) or {}).get(member)

    return field


def _attach_time(_: Context, interface: NetworkInterface) -> str | None:
    attachment = attachment_of(interface)
    return iso(attachment["AttachTime"]) if attachment else None


def _nat_gateway(context: Context, interface: NetworkInterface) -> Value:
    if interface.interface_type != "nat_gateway":
        return None
    gateways = context.view.list(NatGateway, vpc_id=interface.vpc_id)
    return [gateway.id for gateway in gateways if gateway.interface_id == interface.id]


def _groups(member: str) -> InterfaceField:
    return lambda context, interface: [group[member] for group in draw_groups(context, interface)]


FIELDS: Mapping[str, InterfaceField] = {
    "addresses.association.allocation-id": _all(_allocation),
    "addresses.association.association-id": _all(_association),
    "addresses.association.carrier-ip": _all(_carrier),
    "addresses.association.customer-owned-ip": absent,
    "addresses.association.ip-owner-id": _all(_owner),
    "addresses.association.public-dns-name": _all(_public_name),
    "addresses.association.public-ip": _all(_public),
    "addresses.primary": lambda _, interface: [str(one == 0).lower() for one in range(len(interface.addresses))],
    "addresses.private-dns-name": _all(lambda context, i, one: interface_private_name(context, i, one.address)),
    "addresses.private-ip-address": _all(lambda _, _interface, one: one.address),
    "association.allocation-id": _primary(_allocation),
    "association.association-id": _primary(_association),
    "association.carrier-ip": _primary(_carrier),
    "association.customer-owned-ip": absent,
    "association.ip-owner-id": _primary(_owner),
    "association.public-dns-name": _primary(_public_name),
    "association.public-ip": _primary(_public),
    "attachment.attach-time": _attach_time,
    "attachment.attachment-id": _attached("AttachmentId"),
    "attachment.delete-on-termination": _attached("DeleteOnTermination"),
    "attachment.device-index": _attached("DeviceIndex"),
    "attachment.instance-id": _attached("InstanceId"),
    "attachment.instance-owner-id": _attached("InstanceOwnerId"),
    "attachment.network-card-index": _attached("NetworkCardIndex"),
    "attachment.status": _attached("Status"),
    "availability-zone": lambda _, interface: interface.zone,
    "description": lambda _, interface: interface.description,
    "group-id": lambda _, interface: interface.groups,
    "group-name": _groups("GroupName"),
    "ipv6-addresses.ipv6-address": lambda _, interface: interface.ipv6_addresses,
    "mac-address": lambda _, interface: interface.mac,
    "network-interface-id": lambda _, interface: interface.id,
    "operator.managed": constant(False),
    "operator.principal": absent,
    "owner-id": lambda _, interface: interface.account,
    "private-dns-name": _primary(lambda context, i, one: interface_private_name(context, i, one.address)),
    "private-ip-address": _primary(lambda _, _interface, one: one.address),
    "requester-id": lambda _, interface: interface.requester_id,
    "requester-managed": lambda _, interface: interface.requester_id is not None,
    "source-dest-check": lambda _, interface: interface.source_dest_check,
    "status": lambda _, interface: interface.status,
    "subnet-id": lambda _, interface: interface.subnet_id,
    "vpc-id": lambda _, interface: interface.vpc_id,
}
"""Fields that filters of interfaces and ``network-interface.*`` filters of instances have in common."""


NETWORK_INTERFACES = Listing(
    kind=NetworkInterface,
    member="NetworkInterfaces",
    draw=draw_interface,
    cached=False,
    ids="NetworkInterfaceIds",
    find=NETWORK_INTERFACE.find,
    exclusive=True,
    filters={
        **FIELDS,
        "addresses.association.owner-id": _all(_owner),
        "attachment.nat-gateway-id": _nat_gateway,
        "availability-zone-id": zone_id_of,
        "interface-type": lambda _, interface: interface.interface_type,
    },
)


@ec2.reads("DescribeNetworkInterfaces")
def describe_network_interfaces(context: Context, params: "DescribeNetworkInterfacesRequestTypeDef") -> dict[str, Any]:
    """The caller's network interfaces."""
    return NETWORK_INTERFACES.answer(context, params)
