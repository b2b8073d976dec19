"""Network interfaces in the shapes of the API: DescribeNetworkInterfaces has one, DescribeInstances a shorter one."""

from typing import Any

from pileus.operations.context import Context
from pileus.operations.tags import tag_set
from pileus.records import Instance, NetworkInterface, SecurityGroup, Subnet, Vpc
from pileus.records.dns_names import gives_names, private_name, public_name_at
from pileus.records.network_interface import InterfaceAttachment, PrivateAddress
from pileus.services.ec2.interface_creation import AMAZON


def draw_groups(context: Context, interface: NetworkInterface) -> list[dict[str, Any]]:
    """The groups of an interface, as every answer names them."""
    groups = (context.view.get(SecurityGroup, group_id) for group_id in interface.groups)
    return [{"GroupId": group.id, "GroupName": group.name} for group in groups if group]


def draw_association(context: Context, interface: NetworkInterface, one: PrivateAddress) -> dict[str, Any] | None:
    """The public address of a private one; None where it has none."""
    if one.public is None:
        return None
    owner = interface.public_owner(one)
    if one.carrier:
        return {"CarrierIp": one.public, "IpOwnerId": owner}
    vpc = context.view.get(Vpc, interface.vpc_id)
    return {
        "PublicIp": one.public,
        "PublicDnsName": public_name_at(vpc, interface.region, one),
        "IpOwnerId": owner,
    }


def _association_full(context: Context, interface: NetworkInterface, one: PrivateAddress) -> dict[str, Any] | None:
    """The same with the ids of allocation and association."""
    association = draw_association(context, interface, one)
    if association is not None and one.address_id:
        association |= {"AllocationId": one.address_id, "AssociationId": one.association_id}
    return association


def interface_private_name(context: Context, interface: NetworkInterface, address: str) -> str | None:
    """The private name of an address; None where the VPC gives no names."""
    vpc = context.view.get(Vpc, interface.vpc_id)
    return private_name(interface.region, address) if gives_names(vpc) else None


def attachment_of(interface: NetworkInterface) -> dict[str, Any] | None:
    """The attachment of an interface: that of one that the cloud manages is the cloud's own."""
    if interface.requester_id is not None:
        return {
            "AttachmentId": interface.id.replace("eni-", "ela-attach-"),
            "AttachTime": interface.created,
            "DeleteOnTermination": False,
            "DeviceIndex": 1,
            "NetworkCardIndex": 0,
            "InstanceOwnerId": AMAZON,
            "Status": "attached",
        }
    return draw_attachment(interface, interface.attachment) if interface.attachment else None


def draw_attachment(interface: NetworkInterface, attachment: InterfaceAttachment) -> dict[str, Any]:
    """An attachment to an instance."""
    return {
        **_attachment_short(attachment),
        "InstanceId": attachment.instance_id,
        "InstanceOwnerId": interface.account,
    }


def _attachment_short(attachment: InterfaceAttachment) -> dict[str, Any]:
    return {
        "AttachmentId": attachment.id,
        "AttachTime": attachment.attached,
        "DeleteOnTermination": attachment.delete_on_termination,
        "DeviceIndex": attachment.device_index,
        "NetworkCardIndex": 0,
        "Status": attachment.status,
    }


def _draw_ipv6(interface: NetworkInterface) -> list[dict[str, Any]]:
    return [
        {"Ipv6Address": address, "IsPrimaryIpv6": interface.primary_ipv6 and number == 0}
        for number, address in enumerate(interface.ipv6_addresses)
    ]


def _draw_prefixes(interface: NetworkInterface) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    if interface.ipv4_prefixes:
        drawn["Ipv4Prefixes"] = [{"Ipv4Prefix": prefix} for prefix in interface.ipv4_prefixes]
    if interface.ipv6_prefixes:
        drawn["Ipv6Prefixes"] = [{"Ipv6Prefix": prefix} for prefix in interface.ipv6_prefixes]
    return drawn


def zone_id_of(context: Context, interface: NetworkInterface) -> str | None:
    """The id of the zone that an interface is in."""
    subnet = context.view.get(Subnet, interface.subnet_id)
    return subnet.zone_id if subnet else None


def _draw_common(context: Context, interface: NetworkInterface) -> dict[str, Any]:
    return {
        "NetworkInterfaceId": interface.id,
        "SubnetId": interface.subnet_id,
        "VpcId": interface.vpc_id,
        "Description": interface.description,
        "OwnerId": interface.account,
        "Status": interface.status,
        "MacAddress": interface.mac,
        "PrivateIpAddress": interface.private_address,
        "PrivateDnsName": interface_private_name(context, interface, interface.private_address),
        "SourceDestCheck": interface.source_dest_check,
        "InterfaceType": interface.interface_type,
        "Groups": draw_groups(context, interface),
        "Ipv6Addresses": _draw_ipv6(interface),
        "Operator": {"Managed": False},
        **_draw_prefixes(interface),
    }


def draw_interface(context: Context, interface: NetworkInterface) -> dict[str, Any]:
    """An interface as DescribeNetworkInterfaces and CreateNetworkInterface have it."""
    association = _association_full(context, interface, interface.primary)
    return {
        **_draw_common(context, interface),
        "AvailabilityZone": interface.zone,
        "AvailabilityZoneId": zone_id_of(context, interface),
        "RequesterManaged": interface.requester_id is not None,
        "RequesterId": interface.requester_id,
        "PublicDnsName": association.get("PublicDnsName") if association else None,
        "Association": association,
        "Attachment": attachment_of(interface),
        "PrivateIpAddresses": [
            {
                "Primary": number == 0,
                "PrivateIpAddress": one.address,
                "PrivateDnsName": interface_private_name(context, interface, one.address),
                "Association": _association_full(context, interface, one),
            }
            for number, one in enumerate(interface.addresses)
        ],
        "Ipv6Address": interface.ipv6_addresses[0] if interface.ipv6_addresses else None,
        "DenyAllIgwTraffic": False,
        "Ipv6Native": False,
        "TagSet": tag_set(interface.tags),
    }


def draw_instance_interface(context: Context, interface: NetworkInterface) -> dict[str, Any]:
    """An interface as DescribeInstances has it."""
    assert interface.attachment is not None
    return {
        **_draw_common(context, interface),
        "Association": draw_association(context, interface, interface.primary),
        "Attachment": _attachment_short(interface.attachment),
        "PrivateIpAddresses": [
            {
                "Primary": number == 0,
                "PrivateIpAddress": one.address,
                "PrivateDnsName": interface_private_name(context, interface, one.address),
                "Association": draw_association(context, interface, one),
            }
            for number, one in enumerate(interface.addresses)
        ],
    }


def interfaces_of(context: Context, instance: Instance) -> list[NetworkInterface]:
    """The interfaces of an instance in the order of their device index."""
    interfaces = context.view.list(NetworkInterface, instance_id=instance.id)
    return sorted(interfaces, key=lambda interface: interface.device_index)
