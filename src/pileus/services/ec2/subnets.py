"""Subnets: listing them, and the private IPv4 addresses in them."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Subnet, SubnetReservation
from pileus.records.subnet import is_usable, subnet_scope, usable
from pileus.records.vpc import Ipv6Block
from pileus.services.ec2.arns import arn
from pileus.services.ec2.errors import InsufficientFreeAddressesInSubnet, InvalidParameterValue
from pileus.services.ec2.resources import SUBNET
from pileus.services.ec2.service import ec2
from pileus.store import ClaimTaken, Transaction

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeSubnetsRequestTypeDef

RELEASED_SHOWN = timedelta(hours=1)
"""How long an IPv6 block that a subnet had is shown as disassociated."""


def free_addresses(context: Context, subnet: Subnet) -> int:
    """How many IPv4 addresses of a subnet are left. Claims of prefixes come beside those of their addresses."""
    first, last = usable(subnet.cidr)
    taken = sum(":" not in key and "/" not in key for key in context.view.claims(subnet_scope(subnet.id)))
    return last - first + 1 - taken


def _ipv6_blocks(context: Context, subnet: Subnet) -> Sequence[tuple[Ipv6Block, str]]:
    """The subnet's IPv6 block with its state, and those that it had until lately."""
    since = context.now - RELEASED_SHOWN
    released = [(one.block, "disassociated") for one in subnet.released_ipv6 if one.at > since]
    return [(subnet.ipv6_block, "associated"), *released] if subnet.ipv6_block else released


def draw_ipv6_block(block: Ipv6Block, state: str) -> dict[str, Any]:
    """The association of an IPv6 block with a subnet."""
    return {
        "AssociationId": block.id,
        "Ipv6CidrBlock": block.cidr,
        "Ipv6CidrBlockState": {"State": state},
        "Ipv6AddressAttribute": "public",
        "IpSource": "amazon",
    }


def draw_subnet(context: Context, subnet: Subnet) -> dict[str, Any]:
    """A subnet as every answer has it."""
    return {
        "SubnetId": subnet.id,
        "SubnetArn": arn(subnet, "subnet"),
        "VpcId": subnet.vpc_id,
        "OwnerId": subnet.account,
        "State": "available",
        "CidrBlock": subnet.cidr,
        "AvailabilityZone": subnet.zone,
        "AvailabilityZoneId": subnet.zone_id,
        "AvailableIpAddressCount": free_addresses(context, subnet),
        "DefaultForAz": subnet.default_for_az,
        "MapPublicIpOnLaunch": subnet.map_public_ip_on_launch,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": subnet.assign_ipv6,
        "Ipv6CidrBlockAssociationSet": [draw_ipv6_block(*one) for one in _ipv6_blocks(context, subnet)],
        "EnableDns64": subnet.dns64,
        "Ipv6Native": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": subnet.hostname_type,
            "EnableResourceNameDnsARecord": subnet.resource_name_dns_a,
            "EnableResourceNameDnsAAAARecord": subnet.resource_name_dns_aaaa,
        },
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": tag_set(subnet.tags),
    }


SUBNETS = Listing(
    kind=Subnet,
    member="Subnets",
    draw=draw_subnet,
    cached=False,
    ids="SubnetIds",
    find=SUBNET.find,
    filters={
        "availability-zone": lambda _, subnet: subnet.zone,
        "availabilityZone": lambda _, subnet: subnet.zone,
        "availability-zone-id": lambda _, subnet: subnet.zone_id,
        "availabilityZoneId": lambda _, subnet: subnet.zone_id,
        "available-ip-address-count": free_addresses,
        "cidr": lambda _, subnet: subnet.cidr,
        "cidr-block": lambda _, subnet: subnet.cidr,
        "cidrBlock": lambda _, subnet: subnet.cidr,
        "customer-owned-ipv4-pool": absent,
        "default-for-az": lambda _, subnet: subnet.default_for_az,
        "defaultForAz": lambda _, subnet: subnet.default_for_az,
        "enable-dns64": lambda _, subnet: subnet.dns64,
        "enable-lni-at-device-index": absent,
        "ipv6-cidr-block-association.association-id": lambda c, s: [block.id for block, _ in _ipv6_blocks(c, s)],
        "ipv6-cidr-block-association.ipv6-cidr-block": lambda c, s: [block.cidr for block, _ in _ipv6_blocks(c, s)],
        "ipv6-cidr-block-association.state": lambda c, s: [state for _, state in _ipv6_blocks(c, s)],
        "ipv6-native": constant(False),
        "map-customer-owned-ip-on-launch": constant(False),
        "map-public-ip-on-launch": lambda _, subnet: subnet.map_public_ip_on_launch,
        "mapPublicIpOnLaunch": lambda _, subnet: subnet.map_public_ip_on_launch,
        "outpost-arn": absent,
        "owner-id": lambda _, subnet: subnet.account,
        "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": lambda _, s: s.resource_name_dns_a,
        "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": lambda _, s: (
            s.resource_name_dns_aaaa
        ),
        "private-dns-name-options-on-launch.hostname-type": lambda _, subnet: subnet.hostname_type,
        "state": constant("available"),
        "subnet-arn": lambda _, subnet: arn(subnet, "subnet"),
        "subnet-id": lambda _, subnet: subnet.id,
        "vpc-id": lambda _, subnet: subnet.vpc_id,
    },
)


@ec2.reads("DescribeSubnets")
def describe_subnets(context: Context, params: "DescribeSubnetsRequestTypeDef") -> dict[str, Any]:
    """The caller's subnets."""
    return SUBNETS.answer(context, params)


class AddressInUse(ServiceError):
    """The private address is another interface's."""

    code = "InvalidIPAddress.InUse"


def take_private_address(tx: Transaction, subnet: Subnet, interface_id: str, wanted: str | None = None) -> str:
    """Claims a private address of the subnet for an interface.

    Raises:
        InvalidParameterValue: ``wanted`` is no address that an interface in this subnet may have.
        AddressInUse: ``wanted`` is taken.
        InsufficientFreeAddressesInSubnet: there is none left.
    """
    if wanted is not None:
        return _take_wanted(tx, subnet, interface_id, wanted)
    first, last = usable(subnet.cidr)
    kept = [one.cidr for one in tx.list(SubnetReservation, subnet_id=subnet.id) if ":" not in one.cidr]
    address = take_free(tx, subnet_scope(subnet.id), first, last, interface_id, kept)
    if address is None:
        raise InsufficientFreeAddressesInSubnet(
            f"There are not enough free addresses in subnet '{subnet.id}' to satisfy the requested number of instances."
        )
    return address


def _take_wanted(tx: Transaction, subnet: Subnet, interface_id: str, wanted: str) -> str:
    try:
        fits = is_usable(subnet.cidr, wanted)
    except ValueError:
        fits = False
    if not fits:
        raise InvalidParameterValue(
            f"Value ({wanted}) for parameter privateIpAddress is invalid. "
            f"Address does not fall within the subnet's address range or is reserved in subnet CIDR {subnet.cidr}"
        )
    try:
        tx.claim(subnet_scope(subnet.id), wanted, interface_id)
    except ClaimTaken as taken:
        raise AddressInUse(f"Address {wanted} is in use.") from taken
    return wanted


_GUESSES = 32


def take_free(tx: Transaction, scope: str, first: int, last: int, holder: str, kept: Sequence[str] = ()) -> str | None:
    """Claims a free address between two integers, inclusive; None when all are taken. Those in CIDRs ``kept`` stay free.

    Guesses first, which costs the same however full a half-empty range is, and looks at all that are taken only then.
    """
    networks = [IPv4Network(cidr) for cidr in kept]

    def may_be_taken(address: IPv4Address) -> bool:
        return not any(address in network for network in networks)

    span = last - first + 1
    for _ in range(_GUESSES):
        guess = IPv4Address(first + secrets.randbelow(span))
        if may_be_taken(guess) and tx.owner_of(scope, str(guess)) is None:
            tx.claim(scope, str(guess), holder)
            return str(guess)
    taken = tx.claims(scope)
    start = secrets.randbelow(span)
    for offset in range(span):
        address = IPv4Address(first + (start + offset) % span)
        if str(address) not in taken and may_be_taken(address):
            tx.claim(scope, str(address), holder)
            return str(address)
    return None
