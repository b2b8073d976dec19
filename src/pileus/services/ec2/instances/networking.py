"""The network side of a launch: in which subnet, with which interfaces, groups and addresses."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.catalogue import InstanceType
from pileus.operations.context import Context
from pileus.records import Address, Instance, NetworkInterface, SecurityGroup, Subnet
from pileus.records.network_interface import InterfaceAttachment, PrivateAddress
from pileus.records.subnet import subnet_scope
from pileus.services.ec2.address_binding import detach_public_addresses, give_public_address
from pileus.services.ec2.errors import (
    InsufficientAddressCapacity,
    InsufficientFreeAddressesInSubnet,
    InvalidParameter,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
)
from pileus.services.ec2.resources import NETWORK_INTERFACE, SECURITY_GROUP, SUBNET
from pileus.services.ec2.security_groups import default_vpc, group_named
from pileus.services.ec2.subnets import free_addresses, take_private_address
from pileus.store import Transaction

MAX_GROUPS = 5
"""Groups on one interface."""


class NoDefaultSubnet(ServiceError):
    """There is no default subnet in the zone."""

    code = "MissingInput"


class InterfaceInUse(ServiceError):
    """The interface is attached to another instance."""

    code = "InvalidNetworkInterface.InUse"


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of every instance of the launch, or one that exists (then ``existing`` names it)."""

    index: int
    subnet: Subnet
    groups: tuple[str, ...]
    public: bool
    delete_on_termination: bool = True
    description: str = ""
    private_address: str | None = None
    existing: NetworkInterface | None = None


def plan_nics(
    context: Context, params: Mapping[str, Any], type_: InstanceType, zones: Sequence[str]
) -> tuple[Nic, ...]:
    """The interfaces of a launch, the primary one first. ``zones`` is where there is room, the best first.

    Raises:
        ServiceError: a subnet, group or interface is not there, they do not go together, or an address is no good.
    """
    specifications: Sequence[Mapping[str, Any]] = params.get("NetworkInterfaces", ())
    if not specifications:
        return (_plan_simple(context, params, zones),)
    for parameter, what in (
        ("SubnetId", "subnet ID"),
        ("SecurityGroupIds", "security groups"),
        ("SecurityGroups", "security groups"),
    ):
        if params.get(parameter):
            raise InvalidParameterCombination(
                f"Network interfaces and an instance-level {what} may not be specified on the same request"
            )
    if params.get("PrivateIpAddress"):
        raise InvalidParameterCombination(
            "Network interfaces and an instance-level private IP address may not be specified on the same request"
        )
    limit = type_.network.maximum_network_interfaces
    if len(specifications) > limit:
        raise LimitExceeded(
            f"Interface count {len(specifications)} exceeds the limit for {params.get('InstanceType')}",
            code="AttachmentLimitExceeded",
        )
    nics = sorted(
        (_plan_nic(context, params, one, zones, len(specifications)) for one in specifications), key=lambda n: n.index
    )
    if [nic.index for nic in nics] != list(range(len(nics))):
        raise InvalidParameterValue(
            "The network interfaces' deviceIndex must count from 0 without gaps or repetitions."
        )
    if len({nic.subnet.zone for nic in nics}) > 1 or len({nic.subnet.vpc_id for nic in nics}) > 1:
        raise InvalidParameterCombination("All network interfaces must be in the same availability zone and VPC.")
    return tuple(nics)


def _plan_simple(context: Context, params: Mapping[str, Any], zones: Sequence[str]) -> Nic:
    subnet = _subnet(context, params.get("SubnetId"), params, zones)
    return Nic(
        index=0,
        subnet=subnet,
        groups=check_groups(context, subnet, params.get("SecurityGroupIds", ()), params.get("SecurityGroups", ())),
        public=subnet.map_public_ip_on_launch,
        private_address=params.get("PrivateIpAddress"),
    )


def _subnet(context: Context, subnet_id: str | None, params: Mapping[str, Any], zones: Sequence[str]) -> Subnet:
    zone = params.get("Placement", {}).get("AvailabilityZone")
    if subnet_id:
        subnet = SUBNET.one(context, subnet_id)
        if zone and zone != subnet.zone:
            raise InvalidParameterValue(
                f"The availability zone '{zone}' does not match that of the subnet '{subnet.id}' ({subnet.zone})."
            )
        return subnet
    vpc = default_vpc(context)
    defaults = {subnet.zone: subnet for subnet in context.view.list(Subnet, vpc_id=vpc.id) if subnet.default_for_az}
    if zone:
        if zone not in defaults:
            raise NoDefaultSubnet(f"No default subnet found for the availability zone '{zone}'.")
        return defaults[zone]
    candidates = [defaults[candidate] for candidate in (*zones, *defaults) if candidate in defaults]
    if not candidates:
        raise NoDefaultSubnet(f"No subnets found for the default VPC '{vpc.id}'. Please specify a subnet.")
    return next((subnet for subnet in candidates if free_addresses(context, subnet) > 0), candidates[0])


def check_groups(context: Context, subnet: Subnet, ids: Sequence[str], names: Sequence[str] = ()) -> tuple[str, ...]:
    """The ids of the groups that an interface in this subnet shall have: the VPC's default one where none is named.

    Raises:
        NotFound: a group is not there. InvalidParameter: it is in another VPC. LimitExceeded: there are too many.
    """
    groups: list[SecurityGroup] = SECURITY_GROUP.find(context, list(dict.fromkeys(ids)))
    groups.extend(group_named(context, name, subnet.vpc_id) for name in dict.fromkeys(names))
    if not groups:
        groups.append(group_named(context, "default", subnet.vpc_id))
    for group in groups:
        if group.vpc_id != subnet.vpc_id:
            raise InvalidParameter(f"Security group {group.id} and subnet {subnet.id} belong to different networks.")
    if len(groups) > MAX_GROUPS:
        raise LimitExceeded(
            "The maximum number of security groups per interface has been reached.",
            code="SecurityGroupsPerInterfaceLimitExceeded",
        )
    return tuple(dict.fromkeys(group.id for group in groups))


def _plan_nic(
    context: Context, params: Mapping[str, Any], wanted: Mapping[str, Any], zones: Sequence[str], count: int
) -> Nic:
    for name in ("Ipv6Addresses", "Ipv6AddressCount", "Ipv4Prefixes", "Ipv6Prefixes", "SecondaryPrivateIpAddressCount"):
        if wanted.get(name):
            raise InvalidParameterValue(f"The parameter networkInterface.{name} is not available in this cloud yet.")
    index = wanted.get("DeviceIndex")
    if index is None:
        raise InvalidParameterValue("Each network interface requires a device index.")
    if wanted.get("NetworkInterfaceId"):
        return _plan_existing(context, params, wanted, index)
    public = wanted.get("AssociatePublicIpAddress")
    if public is not None and (count > 1 or index != 0):
        raise InvalidParameterCombination(
            "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces."
        )
    subnet = _subnet(context, wanted.get("SubnetId"), params, zones)
    return Nic(
        index=index,
        subnet=subnet,
        groups=check_groups(context, subnet, wanted.get("Groups", ())),
        public=(subnet.map_public_ip_on_launch and count == 1) if public is None else public,
        delete_on_termination=wanted.get("DeleteOnTermination", True),
        description=wanted.get("Description", ""),
        private_address=_private_address(wanted),
    )


def _private_address(wanted: Mapping[str, Any]) -> str | None:
    listed: Sequence[Mapping[str, Any]] = wanted.get("PrivateIpAddresses", ())
    if any(not address.get("Primary") for address in listed) or len(listed) > 1:
        raise InvalidParameterValue(
            "Secondary private addresses (privateIpAddresses) are not available in this cloud yet."
        )
    return wanted.get("PrivateIpAddress") or (listed[0].get("PrivateIpAddress") if listed else None)


def _plan_existing(context: Context, params: Mapping[str, Any], wanted: Mapping[str, Any], index: int) -> Nic:
    interface = NETWORK_INTERFACE.one(context, wanted["NetworkInterfaceId"])
    if interface.attachment is not None:
        raise InterfaceInUse(f"The interface '{interface.id}' is currently in use.")
    if params.get("MaxCount", 1) > 1:
        raise InvalidParameterCombination("A network interface that exists can be given to one instance only.")
    for name in ("SubnetId", "Groups", "PrivateIpAddress", "AssociatePublicIpAddress"):
        if wanted.get(name) is not None:
            raise InvalidParameterCombination(
                f"A network interface may not specify both a network interface ID and {name}"
            )
    subnet = context.view.get(Subnet, interface.subnet_id)
    assert subnet is not None, f"{interface.id} is in a subnet that is gone"
    return Nic(
        index=index,
        subnet=subnet,
        groups=interface.groups,
        public=False,
        delete_on_termination=False,
        existing=interface,
    )


def create_interfaces(
    context: Context, nics: Sequence[Nic], instance: Instance, tags: Mapping[str, str]
) -> list[NetworkInterface]:
    """Writes the interfaces of one instance, attached to it, with their private and public addresses: all or none."""
    made: list[NetworkInterface] = []
    try:
        for nic in nics:
            made.append(_create(context, nic, instance, tags))
            if nic.public:
                made[-1] = give_public_address(context, made[-1])
    except (InsufficientFreeAddressesInSubnet, InsufficientAddressCapacity):
        discard_interfaces(context, made)
        raise
    return made


def discard_interfaces(context: Context, interfaces: Sequence[NetworkInterface]) -> None:
    """Undoes ``create_interfaces`` within its transaction; interfaces that existed before are only detached."""
    for interface in interfaces:
        if interface.created < context.now:
            context.tx.put(replace(interface, attachment=None))
            continue
        bare = detach_public_addresses(context.tx, interface)
        for address in bare.claimed:
            context.tx.release(subnet_scope(bare.subnet_id), address)
        context.tx.delete(bare)


def _create(context: Context, nic: Nic, instance: Instance, tags: Mapping[str, str]) -> NetworkInterface:
    attachment = InterfaceAttachment(
        id=new_id("eni-attach"),
        instance_id=instance.id,
        device_index=nic.index,
        attached=context.now,
        delete_on_termination=nic.delete_on_termination,
    )
    if nic.existing is not None:
        return _attach(context.tx, nic.existing, attachment)
    interface_id = new_id("eni")
    return context.tx.put(
        NetworkInterface(
            id=interface_id,
            account=context.account,
            region=context.region,
            tags=tags,
            subnet_id=nic.subnet.id,
            vpc_id=nic.subnet.vpc_id,
            zone=nic.subnet.zone,
            mac=_new_mac(),
            addresses=(
                PrivateAddress(address=take_private_address(context.tx, nic.subnet, interface_id, nic.private_address)),
            ),
            groups=nic.groups,
            created=context.now,
            description=nic.description,
            attachment=attachment,
            auto_public=nic.public,
        )
    )


def _attach(tx: Transaction, interface: NetworkInterface, attachment: InterfaceAttachment) -> NetworkInterface:
    """Puts an interface that exists into an instance; its Elastic IP comes with it."""
    for one in interface.addresses:
        address = tx.get(Address, one.address_id) if one.address_id else None
        if address is not None:
            tx.put(replace(address, instance_id=attachment.instance_id))
    return tx.put(replace(interface, attachment=attachment))


def _new_mac() -> str:
    """A locally administered unicast address, as EC2's are."""
    return ":".join(f"{byte:02x}" for byte in (0x0A, *secrets.token_bytes(5)))
