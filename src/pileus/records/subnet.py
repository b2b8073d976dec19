"""Subnets and the addresses in them."""

from datetime import datetime
from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged
from pileus.records.vpc import Ipv6Block


class ReleasedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """An IPv6 block that a subnet had until ``at``; shown for a while, because clients wait to see it disassociated."""

    block: Ipv6Block
    at: datetime


class Subnet(Tagged, frozen=True, kw_only=True):
    """A subnet in one zone. The claims of the scope ``subnet_scope(id)`` are its used addresses, IPv4 and IPv6.

    A delegated prefix claims itself as a CIDR, and of IPv4 every address in it.
    """

    kind: ClassVar[str] = "subnet"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id", "zone")

    vpc_id: str
    cidr: str
    zone: str
    zone_id: str
    ipv6_block: Ipv6Block | None = None
    released_ipv6: tuple[ReleasedBlock, ...] = ()
    assign_ipv6: bool = False
    dns64: bool = False
    default_for_az: bool = False
    map_public_ip_on_launch: bool = False
    lni_at_device_index: int | None = None
    hostname_type: str = "ip-name"
    resource_name_dns_a: bool = False
    resource_name_dns_aaaa: bool = False


class SubnetReservation(Tagged, frozen=True, kw_only=True):
    """A CIDR of a subnet, IPv4 or IPv6, from which no address is given out unless it is asked for.

    ``use``: ``prefix``: prefixes are delegated out of it; ``explicit``: addresses are named one by one.
    """

    kind: ClassVar[str] = "subnet-cidr-reservation"
    indexes: ClassVar[tuple[str, ...]] = ("subnet_id",)

    subnet_id: str
    cidr: str
    use: Literal["prefix", "explicit"]
    description: str | None = None


def subnet_scope(subnet_id: str) -> str:
    """The claim scope of a subnet's addresses; keys are addresses in their shortest form, holders are interface ids."""
    return f"subnet-address/{subnet_id}"


def usable(cidr: str) -> tuple[int, int]:
    """First and last address (as integers) that an interface may have: EC2 keeps the first four and the last one."""
    network = IPv4Network(cidr)
    return int(network.network_address) + 4, int(network.broadcast_address) - 1


def is_usable(cidr: str, address: str) -> bool:
    """Whether an interface in this subnet may have this address."""
    first, last = usable(cidr)
    return first <= int(IPv4Address(address)) <= last
