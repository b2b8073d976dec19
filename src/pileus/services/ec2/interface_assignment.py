"""Assigning addresses and prefixes to interfaces that exist, and taking them away: guests see them at once."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Address, Instance, NetworkInterface, Subnet
from pileus.records.network_interface import PrivateAddress
from pileus.records.subnet import subnet_scope
from pileus.services.ec2.address_binding import detach_public_address
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    OperationNotPermitted,
)
from pileus.services.ec2.interface_addresses import (
    Wanted,
    check_counts_of_type,
    count,
    distinct,
    ipv4,
    ipv6,
    prefixes,
    release_addresses,
    take_all,
)
from pileus.services.ec2.interface_attachment import type_of_instance
from pileus.services.ec2.network_interfaces import own_interface
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AssignIpv6AddressesRequestTypeDef,
        AssignPrivateIpAddressesRequestTypeDef,
        UnassignIpv6AddressesRequestTypeDef,
        UnassignPrivateIpAddressesRequestTypeDef,
    )


def _exactly_one(params: Mapping[str, Any], names: Sequence[str]) -> None:
    given = [name for name in names if params.get(name)]
    if not given:
        raise MissingParameter(" or ".join(names))
    if len(given) > 1:
        raise InvalidParameterCombination(f"The parameters {' and '.join(given)} cannot be used together.")


def _subnet(context: Context, interface: NetworkInterface) -> Subnet:
    subnet = context.view.get(Subnet, interface.subnet_id)
    assert subnet is not None, f"{interface.id} is in a subnet that is gone"
    return subnet


def _check_limits(context: Context, interface: NetworkInterface, wanted: Wanted) -> None:
    """Raises LimitExceeded where the interface is in an instance whose type allows fewer addresses."""
    instance = context.view.get(Instance, interface.instance_id) if interface.instance_id else None
    if instance is not None:
        check_counts_of_type(interface, wanted, type_of_instance(instance))


@ec2.writes("AssignPrivateIpAddresses", resources=("network-interface:NetworkInterfaceId",))
def assign_private_ip_addresses(context: Context, params: "AssignPrivateIpAddressesRequestTypeDef") -> dict[str, Any]:
    """Secondary IPv4 addresses or prefixes, named or counted. With AllowReassignment, named ones that another interface
    of the subnet has as secondary ones move, and their Elastic IPs with them.
    """
    interface = own_interface(context, params["NetworkInterfaceId"])
    _exactly_one(params, ("PrivateIpAddresses", "SecondaryPrivateIpAddressCount", "Ipv4Prefixes", "Ipv4PrefixCount"))
    named = distinct([ipv4(one) for one in params.get("PrivateIpAddresses", ())], "privateIpAddresses")
    fresh = tuple(one for one in named if all(one != each.address for each in interface.addresses))
    wanted = Wanted(
        secondary=fresh,
        secondary_count=count(params, "SecondaryPrivateIpAddressCount"),
        ipv4_prefixes=prefixes(params, "Ipv4Prefixes"),
        ipv4_prefix_count=count(params, "Ipv4PrefixCount"),
    )
    if interface.private_address in named:
        raise InvalidParameterValue(f"{interface.private_address} is the primary address of {interface.id}.")
    _check_limits(context, interface, wanted)
    subnet = _subnet(context, interface)
    losers = _losers(context, interface, fresh, allowed=bool(params.get("AllowReassignment")))
    moved = [_move_away(context, loser_id, address) for address, loser_id in losers.items()]
    after = context.tx.put(_with_elastic(context, take_all(context.tx, subnet, interface, wanted), moved))
    taken = after.addresses[len(interface.addresses) :]
    result: dict[str, Any] = {"NetworkInterfaceId": interface.id}
    if named or taken:
        result["AssignedPrivateIpAddresses"] = [
            {"PrivateIpAddress": one} for one in (named or [each.address for each in taken])
        ]
    if added := after.ipv4_prefixes[len(interface.ipv4_prefixes) :]:
        result["AssignedIpv4Prefixes"] = [{"Ipv4Prefix": prefix} for prefix in added]
    return result


def _losers(
    context: Context, interface: NetworkInterface, addresses: Sequence[str], *, allowed: bool
) -> Mapping[str, str]:
    """Which interfaces have these addresses now, by address.

    Raises:
        InvalidParameterValue: one is another's and may not move: reassignment is not asked for, or it is a primary one.
        OperationNotPermitted: that interface is managed by the cloud.
    """
    found: dict[str, str] = {}
    for address in addresses:
        holder = context.tx.owner_of(subnet_scope(interface.subnet_id), address)
        other = context.tx.get(NetworkInterface, holder) if holder else None
        if other is None:
            continue
        secondary = {one.address for one in other.addresses[1:]}
        if not allowed or address not in secondary:
            raise InvalidParameterValue(f"[{address}] have already been assigned to network interface {other.id}")
        if other.requester_id is not None or other.account != context.account:
            raise OperationNotPermitted(f"The address {address} is of an interface that you may not change.")
        found[address] = other.id
    return found


def _move_away(context: Context, interface_id: str, address: str) -> PrivateAddress:
    """Takes a secondary address from an interface, for another one, with the Elastic IP that is at it."""
    other = context.tx.get(NetworkInterface, interface_id)
    assert other is not None, f"{interface_id} was just there"
    release_addresses(context.tx, other, {address})
    context.tx.put(replace(other, addresses=tuple(one for one in other.addresses if one.address != address)))
    return other.address(address)


def _with_elastic(context: Context, interface: NetworkInterface, moved: Sequence[PrivateAddress]) -> NetworkInterface:
    """The interface with the Elastic IPs of the addresses that moved to it; their associations stay what they were."""
    for one in moved:
        elastic = context.tx.get(Address, one.address_id) if one.address_id else None
        if elastic is None:
            continue
        context.tx.put(
            replace(
                elastic,
                interface_id=interface.id,
                interface_account=interface.account,
                instance_id=interface.instance_id,
            )
        )
        interface = interface.with_address(one)
    return interface


def _without(context: Context, interface: NetworkInterface, gone: set[str]) -> NetworkInterface:
    """The interface without some secondary addresses, which are free again; their public addresses are unbound."""
    for address in gone:
        interface = detach_public_address(context.tx, interface, address)
    release_addresses(context.tx, interface, gone)
    return replace(interface, addresses=tuple(one for one in interface.addresses if one.address not in gone))


@ec2.writes("UnassignPrivateIpAddresses", resources=("network-interface:NetworkInterfaceId",))
def unassign_private_ip_addresses(
    context: Context, params: "UnassignPrivateIpAddressesRequestTypeDef"
) -> dict[str, Any]:
    """Takes secondary IPv4 addresses or prefixes away. Elastic IPs at them are disassociated."""
    interface = own_interface(context, params["NetworkInterfaceId"])
    _exactly_one(params, ("PrivateIpAddresses", "Ipv4Prefixes"))
    gone = {ipv4(one) for one in params.get("PrivateIpAddresses", ())}
    delegated = set(prefixes({"Ipv4Prefixes": params.get("Ipv4Prefixes", ())}, "Ipv4Prefixes"))
    present = {one.address for one in interface.addresses}
    if interface.private_address in gone:
        raise InvalidParameterValue(
            f"The primary address {interface.private_address} of {interface.id} cannot be unassigned."
        )
    if not gone <= present or not delegated <= set(interface.ipv4_prefixes):
        raise InvalidParameterValue(f"Some of the specified addresses are not assigned to interface {interface.id}")
    bare = _without(context, interface, gone)
    release_addresses(context.tx, bare, delegated)
    kept = tuple(prefix for prefix in bare.ipv4_prefixes if prefix not in delegated)
    context.tx.put(replace(bare, ipv4_prefixes=kept))
    return {}


@ec2.writes("AssignIpv6Addresses", resources=("network-interface:NetworkInterfaceId",))
def assign_ipv6_addresses(context: Context, params: "AssignIpv6AddressesRequestTypeDef") -> dict[str, Any]:
    """IPv6 addresses or prefixes, named or counted."""
    interface = own_interface(context, params["NetworkInterfaceId"])
    _exactly_one(params, ("Ipv6Addresses", "Ipv6AddressCount", "Ipv6Prefixes", "Ipv6PrefixCount"))
    named = distinct([ipv6(one) for one in params.get("Ipv6Addresses", ())], "ipv6Addresses")
    wanted = Wanted(
        ipv6=tuple(one for one in named if one not in interface.ipv6_addresses),
        ipv6_count=count(params, "Ipv6AddressCount"),
        ipv6_prefixes=prefixes(params, "Ipv6Prefixes"),
        ipv6_prefix_count=count(params, "Ipv6PrefixCount"),
    )
    _check_limits(context, interface, wanted)
    after = context.tx.put(take_all(context.tx, _subnet(context, interface), interface, wanted))
    return {
        "NetworkInterfaceId": interface.id,
        "AssignedIpv6Addresses": list(named or after.ipv6_addresses[len(interface.ipv6_addresses) :]),
        "AssignedIpv6Prefixes": list(after.ipv6_prefixes[len(interface.ipv6_prefixes) :]),
    }


@ec2.writes("UnassignIpv6Addresses", resources=("network-interface:NetworkInterfaceId",))
def unassign_ipv6_addresses(context: Context, params: "UnassignIpv6AddressesRequestTypeDef") -> dict[str, Any]:
    """Takes IPv6 addresses or prefixes away; not the first address where it is a primary one."""
    interface = own_interface(context, params["NetworkInterfaceId"])
    _exactly_one(params, ("Ipv6Addresses", "Ipv6Prefixes"))
    gone = distinct([ipv6(one) for one in params.get("Ipv6Addresses", ())], "ipv6Addresses")
    delegated = prefixes({"Ipv6Prefixes": params.get("Ipv6Prefixes", ())}, "Ipv6Prefixes")
    if not set(gone) <= set(interface.ipv6_addresses) or not set(delegated) <= set(interface.ipv6_prefixes):
        raise InvalidParameterValue(f"Some of the specified addresses are not assigned to interface {interface.id}")
    if interface.primary_ipv6 and interface.ipv6_addresses[:1] and interface.ipv6_addresses[0] in gone:
        raise InvalidParameterValue(
            f"The primary IPv6 address {interface.ipv6_addresses[0]} of {interface.id} cannot be unassigned."
        )
    release_addresses(context.tx, interface, {*gone, *delegated})
    context.tx.put(
        replace(
            interface,
            ipv6_addresses=tuple(one for one in interface.ipv6_addresses if one not in gone),
            ipv6_prefixes=tuple(one for one in interface.ipv6_prefixes if one not in delegated),
        )
    )
    return {
        "NetworkInterfaceId": interface.id,
        "UnassignedIpv6Addresses": list(gone),
        "UnassignedIpv6Prefixes": list(delegated),
    }
