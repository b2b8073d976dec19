"""The network side of a launch, planned: in which subnet, with which interfaces, groups and addresses."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pileus.base.errors import ServiceError
from pileus.catalogue import InstanceType
from pileus.operations.context import Context
from pileus.records import NetworkInterface, Subnet
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    OperationNotPermitted,
    Unsupported,
)
from pileus.services.ec2.interface_addresses import Wanted, check_counts_of_type, wanted_addresses
from pileus.services.ec2.interface_attachment import check_card, check_free
from pileus.services.ec2.interface_creation import check_groups, with_subnet_defaults
from pileus.services.ec2.network_interfaces import check_description, refuse_features
from pileus.services.ec2.regions import zone_of
from pileus.services.ec2.resources import NETWORK_INTERFACE, SUBNET
from pileus.services.ec2.security_groups import default_vpc
from pileus.services.ec2.subnets import free_addresses


class NoDefaultSubnet(ServiceError):
    """There is no default subnet in the zone."""

    code = "MissingInput"


class Nic(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of every instance of the launch, or one that exists (then ``existing`` names it).

    ``public`` and ``carrier`` are whether EC2 gives it an address of these pools, ``wanted`` its private ones.
    """

    index: int
    subnet: Subnet
    groups: tuple[str, ...]
    public: bool
    carrier: bool = False
    wanted: Wanted = Wanted()
    primary_ipv6: bool = False
    delete_on_termination: bool = True
    description: str = ""
    existing: NetworkInterface | None = None


_EXCLUSIVE = (
    ("SubnetId", "subnet ID"),
    ("SecurityGroupIds", "security groups"),
    ("SecurityGroups", "security groups"),
    ("PrivateIpAddress", "private IP address"),
    ("Ipv6Addresses", "IPv6 addresses"),
    ("Ipv6AddressCount", "number of IPv6 addresses"),
    ("EnablePrimaryIpv6", "primary IPv6 address"),
)
"""What is said of the instance or of its interfaces, but not of both."""

_EXISTING_HAS = (
    "SubnetId",
    "Groups",
    "PrivateIpAddress",
    "PrivateIpAddresses",
    "SecondaryPrivateIpAddressCount",
    "Ipv6Addresses",
    "Ipv6AddressCount",
    "Ipv4Prefixes",
    "Ipv4PrefixCount",
    "Ipv6Prefixes",
    "Ipv6PrefixCount",
    "AssociatePublicIpAddress",
    "AssociateCarrierIpAddress",
    "PrimaryIpv6",
)
"""What an interface that exists has already."""


def plan_nics(
    context: Context, params: Mapping[str, Any], type_: InstanceType, zones: Sequence[str]
) -> tuple[Nic, ...]:
    """The interfaces of a launch, the primary one first. ``zones`` is where there is room, the best first.

    Raises:
        ServiceError: a subnet, group or interface is not there, they do not go together, or an address is no good.
    """
    several = bool(params.get("NetworkInterfaces"))
    nics = _plan_several(context, params, type_, zones) if several else (_plan_simple(context, params, zones),)
    for nic in nics:
        check_counts_of_type(nic.existing, nic.wanted, type_)
    return nics


def _plan_several(
    context: Context, params: Mapping[str, Any], type_: InstanceType, zones: Sequence[str]
) -> tuple[Nic, ...]:
    specifications: Sequence[Mapping[str, Any]] = params["NetworkInterfaces"]
    for parameter, what in _EXCLUSIVE:
        if params.get(parameter):
            raise InvalidParameterCombination(
                f"Network interfaces and an instance-level {what} may not be specified on the same request"
            )
    limit = type_.network.maximum_network_interfaces
    if len(specifications) > limit:
        raise LimitExceeded(
            f"Interface count {len(specifications)} exceeds the limit for {type_.name}", code="AttachmentLimitExceeded"
        )
    nics = sorted(
        (_plan_nic(context, params, one, zones, len(specifications)) for one in specifications), key=lambda n: n.index
    )
    indexes = [nic.index for nic in nics]
    if len(set(indexes)) < len(indexes) or indexes[0] != 0:
        raise InvalidParameterValue(
            "Each network interface requires a unique device index, and the primary one has device index 0."
        )
    if len({nic.subnet.zone for nic in nics}) > 1 or len({nic.subnet.vpc_id for nic in nics}) > 1:
        raise InvalidParameterCombination("All network interfaces must be in the same availability zone and VPC.")
    existing = [nic.existing.id for nic in nics if nic.existing]
    if len(set(existing)) < len(existing):
        raise InvalidParameterValue("The same network interface is named twice (networkInterfaceId).")
    return tuple(nics)


def _plan_simple(context: Context, params: Mapping[str, Any], zones: Sequence[str]) -> Nic:
    subnet = _subnet(context, params.get("SubnetId"), params, zones)
    names = ("PrivateIpAddress", "Ipv6Addresses", "Ipv6AddressCount")
    wanted = wanted_addresses({name: params[name] for name in names if name in params})
    return Nic(
        index=0,
        subnet=subnet,
        groups=check_groups(context, subnet, params.get("SecurityGroupIds", ()), params.get("SecurityGroups", ())),
        public=subnet.map_public_ip_on_launch and not _is_wavelength(subnet),
        wanted=with_subnet_defaults(subnet, wanted),
        primary_ipv6=bool(params.get("EnablePrimaryIpv6")),
    )


def _is_wavelength(subnet: Subnet) -> bool:
    zone = zone_of(subnet)
    return zone is not None and zone.type == "wavelength-zone"


def _subnet(context: Context, subnet_id: str | None, params: Mapping[str, Any], zones: Sequence[str]) -> Subnet:
    placement: Mapping[str, Any] = params.get("Placement", {})
    zone, zone_id = placement.get("AvailabilityZone"), placement.get("AvailabilityZoneId")
    if subnet_id:
        subnet = SUBNET.one(context, subnet_id)
        for asked, has in ((zone, subnet.zone), (zone_id, subnet.zone_id)):
            if asked and asked != has:
                raise InvalidParameterValue(
                    f"The availability zone '{asked}' does not match that of the subnet '{subnet.id}' ({has})."
                )
        return subnet
    vpc = default_vpc(context)
    defaults = {subnet.zone: subnet for subnet in context.view.list(Subnet, vpc_id=vpc.id) if subnet.default_for_az}
    if zone_id:
        zone = next((name for name, subnet in defaults.items() if subnet.zone_id == zone_id), zone or zone_id)
    if zone:
        if zone not in defaults:
            raise NoDefaultSubnet(f"No default subnet found for the availability zone '{zone}'.")
        return defaults[zone]
    candidates = [defaults[candidate] for candidate in (*zones, *defaults) if candidate in defaults]
    if not candidates:
        raise NoDefaultSubnet(f"No subnets found for the default VPC '{vpc.id}'. Please specify a subnet.")
    return next((subnet for subnet in candidates if free_addresses(context, subnet) > 0), candidates[0])


def _plan_nic(
    context: Context, params: Mapping[str, Any], wanted: Mapping[str, Any], zones: Sequence[str], count: int
) -> Nic:
    refuse_features(wanted)
    if wanted.get("InterfaceType", "interface") != "interface":
        raise Unsupported(f"The interface type '{wanted['InterfaceType']}' is not available in this cloud.")
    check_card(wanted.get("NetworkCardIndex", 0))
    index = wanted.get("DeviceIndex")
    if index is None:
        raise InvalidParameterValue("Each network interface requires a device index.")
    if index < 0:
        raise InvalidParameterValue(f"Value ({index}) for parameter deviceIndex is invalid. It must not be negative.")
    if wanted.get("NetworkInterfaceId"):
        return _plan_existing(context, params, wanted, index)
    subnet = _subnet(context, wanted.get("SubnetId"), params, zones)
    addresses = with_subnet_defaults(subnet, wanted_addresses(wanted))
    public, carrier = _gives(wanted, subnet, index, count)
    primary_ipv6 = bool(wanted.get("PrimaryIpv6"))
    if primary_ipv6 and not (addresses.ipv6 or addresses.ipv6_count):
        raise InvalidParameterCombination("A primary IPv6 address (PrimaryIpv6) needs an IPv6 address.")
    return Nic(
        index=index,
        subnet=subnet,
        groups=check_groups(context, subnet, wanted.get("Groups", ())),
        public=public,
        carrier=carrier,
        wanted=addresses,
        primary_ipv6=primary_ipv6,
        delete_on_termination=wanted.get("DeleteOnTermination", True),
        description=check_description(wanted.get("Description", "")),
    )


def _gives(wanted: Mapping[str, Any], subnet: Subnet, index: int, count: int) -> tuple[bool, bool]:
    """Whether EC2 gives a new interface a public address, and whether a carrier's."""
    public, carrier = wanted.get("AssociatePublicIpAddress"), bool(wanted.get("AssociateCarrierIpAddress"))
    wavelength = _is_wavelength(subnet)
    if public is not None and (count > 1 or index != 0):
        raise InvalidParameterCombination(
            "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces."
        )
    if carrier and (count > 1 or index != 0):
        raise InvalidParameterCombination(
            "The associateCarrierIpAddress parameter cannot be specified when launching with multiple network interfaces."
        )
    if carrier and not wavelength:
        raise InvalidParameterCombination(
            f"The associateCarrierIpAddress parameter needs a subnet in a Wavelength Zone; '{subnet.id}' is in "
            f"{subnet.zone}."
        )
    if public and wavelength:
        raise InvalidParameterCombination(
            f"The associatePublicIPAddress parameter cannot be used in the Wavelength Zone {subnet.zone}."
        )
    if public is None:
        public = subnet.map_public_ip_on_launch and count == 1 and not wavelength
    return public, carrier


def _plan_existing(context: Context, params: Mapping[str, Any], wanted: Mapping[str, Any], index: int) -> Nic:
    interface = NETWORK_INTERFACE.one(context, wanted["NetworkInterfaceId"])
    if interface.requester_id is not None:
        raise OperationNotPermitted(f"The network interface '{interface.id}' is managed by {interface.requester_id}.")
    check_free(interface)
    if params.get("MaxCount", 1) > 1:
        raise InvalidParameterCombination("A network interface that exists can be given to one instance only.")
    for name in _EXISTING_HAS:
        if wanted.get(name) is not None:
            raise InvalidParameterCombination(
                f"A network interface may not specify both a network interface ID and {name}"
            )
    if wanted.get("DeleteOnTermination"):
        raise InvalidParameterCombination(
            "A network interface may not specify a network interface ID and delete on termination as true"
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
