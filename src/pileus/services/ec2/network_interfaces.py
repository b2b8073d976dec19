"""Network interfaces: those that instances have."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Instance, NetworkInterface, SecurityGroup, Subnet, Vpc
from pileus.records.dns_names import private_name, public_name_in
from pileus.services.ec2.errors import IncorrectInstanceState
from pileus.services.ec2.resources import NETWORK_INTERFACE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_ec2.type_defs import DescribeNetworkInterfacesRequestTypeDef

    from pileus.operations.filters import Value
    from pileus.records.network_interface import InterfaceAttachment


class MultipleInterfaces(ServiceError):
    """The instance has more than one interface, and the call does not say which is meant."""

    code = "InvalidInstanceID"


def only_interface(context: Context, instance: Instance) -> NetworkInterface:
    """The interface that is meant by naming its instance. Raises MultipleInterfaces, IncorrectInstanceState."""
    interfaces = context.view.list(NetworkInterface, instance_id=instance.id)
    if not interfaces:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in a valid state for this operation.")
    if len(interfaces) > 1:
        raise MultipleInterfaces(
            f"There are multiple interfaces attached to instance '{instance.id}'. "
            "Please specify an interface ID for the operation instead."
        )
    return interfaces[0]


def draw_groups(context: Context, interface: NetworkInterface) -> list[dict[str, Any]]:
    """The groups of an interface, as every answer names them."""
    groups = (context.view.get(SecurityGroup, group_id) for group_id in interface.groups)
    return [{"GroupId": group.id, "GroupName": group.name} for group in groups if group]


def draw_association(context: Context, interface: NetworkInterface) -> dict[str, Any] | None:
    """The public address of an interface; None where it has none."""
    if interface.public_address is None:
        return None
    vpc = context.view.get(Vpc, interface.vpc_id)
    return {
        "PublicIp": interface.public_address,
        "PublicDnsName": public_name_in(vpc, interface),
        "IpOwnerId": interface.public_owner(interface.primary),
    }


def draw_association_full(context: Context, interface: NetworkInterface) -> dict[str, Any] | None:
    """The same with the ids of allocation and association, as DescribeNetworkInterfaces has it."""
    association = draw_association(context, interface)
    primary = interface.primary
    if association is not None and primary.address_id:
        association |= {"AllocationId": primary.address_id, "AssociationId": primary.association_id}
    return association


def _draw(context: Context, interface: NetworkInterface) -> dict[str, Any]:
    association = draw_association_full(context, interface)
    name = private_name(interface.region, interface.private_address)
    attachment = interface.attachment
    return {
        "NetworkInterfaceId": interface.id,
        "SubnetId": interface.subnet_id,
        "VpcId": interface.vpc_id,
        "AvailabilityZone": interface.zone,
        "AvailabilityZoneId": _zone_id(context, interface),
        "Description": interface.description,
        "OwnerId": interface.account,
        "RequesterManaged": interface.requester_id is not None,
        "RequesterId": interface.requester_id,
        "Status": interface.status,
        "MacAddress": interface.mac,
        "PrivateIpAddress": interface.private_address,
        "PrivateDnsName": name,
        "PublicDnsName": association["PublicDnsName"] if association else None,
        "SourceDestCheck": interface.source_dest_check,
        "InterfaceType": interface.interface_type,
        "Groups": draw_groups(context, interface),
        "Association": association,
        "Attachment": {
            "AttachmentId": attachment.id,
            "AttachTime": attachment.attached,
            "DeleteOnTermination": attachment.delete_on_termination,
            "DeviceIndex": attachment.device_index,
            "NetworkCardIndex": 0,
            "InstanceId": attachment.instance_id,
            "InstanceOwnerId": interface.account,
            "Status": attachment.status,
        }
        if attachment
        else None,
        "PrivateIpAddresses": [
            {
                "Primary": True,
                "PrivateIpAddress": interface.private_address,
                "PrivateDnsName": name,
                "Association": association,
            }
        ],
        "Ipv6Addresses": [],
        "Operator": {"Managed": False},
        "TagSet": tag_set(interface.tags),
    }


def _attachment(
    pick: "Callable[[InterfaceAttachment], Value]",
) -> "Callable[[Context, NetworkInterface], Value]":
    return lambda _, interface: pick(interface.attachment) if interface.attachment else None


def _zone_id(context: Context, interface: NetworkInterface) -> str | None:
    subnet = context.view.get(Subnet, interface.subnet_id)
    return subnet.zone_id if subnet else None


NETWORK_INTERFACES = Listing(
    kind=NetworkInterface,
    member="NetworkInterfaces",
    draw=_draw,
    cached=False,
    ids="NetworkInterfaceIds",
    find=NETWORK_INTERFACE.find,
    exclusive=True,
    filters={
        "addresses.association.owner-id": lambda _, interface: interface.public_owner(interface.primary),
        "addresses.association.public-ip": lambda _, interface: interface.public_address,
        "addresses.primary": constant(True),
        "addresses.private-ip-address": lambda _, interface: interface.private_address,
        "association.allocation-id": lambda _, interface: interface.primary.address_id,
        "association.association-id": lambda _, interface: interface.primary.association_id,
        "association.ip-owner-id": lambda _, interface: interface.public_owner(interface.primary),
        "association.public-dns-name": lambda context, i: public_name_in(context.view.get(Vpc, i.vpc_id), i) or None,
        "association.public-ip": lambda _, interface: interface.public_address,
        "attachment.attach-time": _attachment(lambda attachment: iso(attachment.attached)),
        "attachment.attachment-id": _attachment(lambda attachment: attachment.id),
        "attachment.delete-on-termination": _attachment(lambda attachment: attachment.delete_on_termination),
        "attachment.device-index": _attachment(lambda attachment: attachment.device_index),
        "attachment.instance-id": lambda _, interface: interface.instance_id,
        "attachment.instance-owner-id": lambda _, interface: interface.account if interface.attachment else None,
        "attachment.nat-gateway-id": absent,
        "attachment.status": _attachment(lambda attachment: attachment.status),
        "availability-zone": lambda _, interface: interface.zone,
        "availability-zone-id": _zone_id,
        "description": lambda _, interface: interface.description,
        "group-id": lambda _, interface: interface.groups,
        "group-name": lambda context, i: [group["GroupName"] for group in draw_groups(context, i)],
        "interface-type": lambda _, interface: interface.interface_type,
        "ipv6-addresses.ipv6-address": absent,
        "mac-address": lambda _, interface: interface.mac,
        "network-interface-id": lambda _, interface: interface.id,
        "operator.managed": constant(False),
        "operator.principal": absent,
        "owner-id": lambda _, interface: interface.account,
        "private-dns-name": lambda _, interface: private_name(interface.region, interface.private_address),
        "private-ip-address": lambda _, interface: interface.private_address,
        "requester-id": lambda _, interface: interface.requester_id,
        "requester-managed": lambda _, interface: interface.requester_id is not None,
        "source-dest-check": lambda _, interface: interface.source_dest_check,
        "status": lambda _, interface: interface.status,
        "subnet-id": lambda _, interface: interface.subnet_id,
        "vpc-id": lambda _, interface: interface.vpc_id,
    },
)


@ec2.reads("DescribeNetworkInterfaces")
def describe_network_interfaces(context: Context, params: "DescribeNetworkInterfacesRequestTypeDef") -> dict[str, Any]:
    """The caller's network interfaces."""
    return NETWORK_INTERFACES.answer(context, params)
