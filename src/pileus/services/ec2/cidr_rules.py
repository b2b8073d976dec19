"""What Amazon VPC allows as CIDR blocks of VPCs and subnets. Pure; called by the modules of VPCs and subnets.

Source: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network

from pileus.base.errors import ServiceError
from pileus.services.ec2.errors import InvalidParameterValue

LARGEST, SMALLEST = 16, 28
"""The prefix lengths between which an IPv4 block of a VPC or a subnet lies."""
VPC_IPV6_PREFIX = 56
SUBNET_IPV6_PREFIX = 64

_DOCUMENT = "https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html"
_NEVER = tuple(IPv4Network(cidr) for cidr in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4"))
_PRIVATE = tuple(IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_BENCHMARKS = IPv4Network("198.19.0.0/16")
_DEFAULT_VPCS = IPv4Network("172.31.0.0/16")
_TENS = IPv4Network("10.0.0.0/15")
_FIRST_TEN = IPv4Network("10.0.0.0/16")


class InvalidVpcRange(ServiceError):
    """A block that a VPC can't have."""

    code = "InvalidVpc.Range"


class InvalidSubnetRange(ServiceError):
    """A block that a subnet can't have, or that is not in its VPC."""

    code = "InvalidSubnet.Range"


class InvalidSubnetConflict(ServiceError):
    """A block that another subnet of the VPC has, in part or whole."""

    code = "InvalidSubnet.Conflict"


def parse_ipv4(cidr: str, parameter: str = "cidrBlock") -> IPv4Network:
    """A block in canonical form: 100.68.0.18/18 is 100.68.0.0/18. Raises InvalidParameterValue."""
    if cidr.partition("/")[2].isdecimal():
        with suppress(ValueError):
            return IPv4Network(cidr, strict=False)
    raise _no_block(cidr, parameter)


def parse_ipv6(cidr: str, parameter: str = "ipv6CidrBlock") -> IPv6Network:
    """The same of IPv6."""
    if cidr.partition("/")[2].isdecimal() and "%" not in cidr:
        with suppress(ValueError):
            return IPv6Network(cidr, strict=False)
    raise _no_block(cidr, parameter)


def _no_block(cidr: str, parameter: str) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"Value ({cidr}) for parameter {parameter} is invalid. This is not a valid CIDR block."
    )


def vpc_block(cidr: str) -> str:
    """A VPC's primary block in canonical form. Raises InvalidParameterValue, InvalidVpcRange."""
    block = parse_ipv4(cidr)
    if not LARGEST <= block.prefixlen <= SMALLEST or any(block.overlaps(never) for never in _NEVER):
        raise InvalidVpcRange(f"The CIDR '{block}' is invalid.")
    return str(block)


def secondary_block(cidr: str, present: Sequence[str], routed: Iterable[str]) -> str:
    """A further block of a VPC in canonical form.

    Args:
        present: the VPC's blocks, the primary one first. routed: the IPv4 destinations in its route tables that are
            not local.

    Raises:
        InvalidParameterValue: it is no block.
        InvalidVpcRange: AWS does not let it join these, it overlaps one of them, or a route goes to a part of it.
    """
    block = IPv4Network(vpc_block(cidr))
    blocks = [IPv4Network(one) for one in present]
    if any(block.overlaps(one) for one in blocks):
        raise InvalidVpcRange(f"The CIDR '{block}' conflicts with another CIDR block of the VPC.")
    if _is_restricted(block, blocks):
        raise InvalidVpcRange(
            f"The CIDR '{block}' is restricted. Use a CIDR from the same private address range as the current VPC "
            f"CIDR, or use a publicly-routable CIDR. For additional restrictions, see {_DOCUMENT}"
        )
    for destination in routed:
        if IPv4Network(destination).subnet_of(block):
            raise InvalidVpcRange(
                f"The CIDR '{block}' is the same as, or larger than, the destination '{destination}' of a route in "
                "one of the VPC's route tables."
            )
    return str(block)


def _is_restricted(block: IPv4Network, present: Sequence[IPv4Network]) -> bool:
    """AWS's table of block association restrictions; the row is the one in which the primary block lies."""
    primary = present[0]
    home = next((private for private in _PRIVATE if primary.subnet_of(private)), None)
    others = [private for private in _PRIVATE if private is not home]
    if any(block.overlaps(private) for private in others):
        return True
    if primary.subnet_of(_BENCHMARKS):
        return False
    if block.overlaps(_BENCHMARKS):
        return True
    if home is _PRIVATE[0]:
        return block.overlaps(_FIRST_TEN) and any(one.overlaps(_TENS) for one in present)
    return home is _PRIVATE[1] and block.overlaps(_DEFAULT_VPCS)


def subnet_block(cidr: str, vpc_blocks: Sequence[str], taken: Iterable[str]) -> str:
    """A subnet's block in canonical form. ``taken`` are those of the VPC's subnets.

    Raises:
        InvalidParameterValue: it is no block.
        InvalidSubnetRange: it is too large, too small, or not in a block of the VPC. InvalidSubnetConflict.
    """
    block = parse_ipv4(cidr)
    inside = any(block.subnet_of(IPv4Network(one)) for one in vpc_blocks)
    if not LARGEST <= block.prefixlen <= SMALLEST or not inside:
        raise InvalidSubnetRange(f"The CIDR '{block}' is invalid.")
    if any(block.overlaps(IPv4Network(one)) for one in taken):
        raise InvalidSubnetConflict(f"The CIDR '{block}' conflicts with another subnet")
    return str(block)


def subnet_ipv6_block(cidr: str, vpc_blocks: Sequence[str], taken: Iterable[str]) -> str:
    """The same of IPv6. All subnets' blocks are /64 here; AWS allows /44 to /64 in steps of four since 2023."""
    block = parse_ipv6(cidr)
    inside = any(block.subnet_of(IPv6Network(one)) for one in vpc_blocks)
    if block.prefixlen != SUBNET_IPV6_PREFIX or not inside:
        raise InvalidSubnetRange(f"The CIDR '{block}' is invalid.")
    if any(block.overlaps(IPv6Network(one)) for one in taken):
        raise InvalidSubnetConflict(f"The CIDR '{block}' conflicts with another subnet")
    return str(block)


def first_free(within: str, prefix: int, taken: Iterable[str]) -> str | None:
    """The first block of this length that overlaps none that are taken; None when all do.

    Jumps over what is taken, so that the length of ``within`` does not matter.
    """
    outer = ip_network(within)
    size = 1 << (outer.max_prefixlen - prefix)
    candidate, end = int(outer.network_address), int(outer.broadcast_address)
    ranges = sorted((int(one.network_address), int(one.broadcast_address)) for one in map(ip_network, taken))
    for first, last in ranges:
        if first >= candidate + size:
            break
        if last >= candidate:
            candidate = last // size * size + size
    if candidate + size - 1 > end:
        return None
    family = IPv4Network if outer.version == 4 else IPv6Network
    return str(family((candidate, prefix)))
