"""The private addresses of interfaces: what a call asks for, and taking it from the subnet.

Claims of a subnet are addresses in their shortest form, and delegated prefixes as CIDRs (of IPv4 with all their addresses).
Called by everything that makes or changes interfaces.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

import msgspec
from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.catalogue import InstanceType
from pileus.records import NetworkInterface, Subnet
from pileus.records.network_interface import PrivateAddress
from pileus.records.subnet import SubnetReservation, is_usable, subnet_scope
from pileus.services.ec2.errors import (
    InsufficientFreeAddressesInSubnet,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
)
from pileus.services.ec2.subnets import AddressInUse, take_private_address
from pileus.store import ClaimTaken, Transaction

IPV4_PREFIX, IPV6_PREFIX = 28, 80
_GUESSES = 32


class InsufficientCidrBlocks(ServiceError):
    """The subnet has no room for another prefix."""

    code = "InsufficientCidrBlocks"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses that a new interface, or one that exists, shall have. Counts are of those that the cloud chooses."""

    primary: str | None = None
    secondary: tuple[str, ...] = ()
    secondary_count: int = 0
    ipv6: tuple[str, ...] = ()
    ipv6_count: int = 0
    ipv4_prefixes: tuple[str, ...] = ()
    ipv4_prefix_count: int = 0
    ipv6_prefixes: tuple[str, ...] = ()
    ipv6_prefix_count: int = 0

    @property
    def named(self) -> bool:
        """Whether it names addresses, which only one interface can have."""
        return bool(self.primary or self.secondary or self.ipv6 or self.ipv4_prefixes or self.ipv6_prefixes)


def wanted_addresses(params: Mapping[str, Any]) -> Wanted:
    """What the parameters of CreateNetworkInterface, or of an interface of a launch, ask for.

    Raises:
        InvalidParameterCombination: a list and a count of the same thing. InvalidParameterValue: it is malformed.
    """
    listed: Sequence[Mapping[str, Any]] = params.get("PrivateIpAddresses", ())
    primaries = [one["PrivateIpAddress"] for one in listed if one.get("Primary")]
    secondary = [one["PrivateIpAddress"] for one in listed if not one.get("Primary")]
    if params.get("PrivateIpAddress"):
        primaries.insert(0, params["PrivateIpAddress"])
    if len(primaries) > 1:
        raise InvalidParameterCombination("Only one primary private IP address can be specified.")
    for one, other in (
        ("SecondaryPrivateIpAddressCount", "PrivateIpAddresses"),
        ("Ipv6AddressCount", "Ipv6Addresses"),
        ("Ipv4PrefixCount", "Ipv4Prefixes"),
        ("Ipv6PrefixCount", "Ipv6Prefixes"),
        ("SecondaryPrivateIpAddressCount", "Ipv4Prefixes"),
        ("SecondaryPrivateIpAddressCount", "Ipv4PrefixCount"),
        ("Ipv6AddressCount", "Ipv6Prefixes"),
        ("Ipv6AddressCount", "Ipv6PrefixCount"),
    ):
        if params.get(one) and params.get(other):
            raise InvalidParameterCombination(f"The parameters {one} and {other} cannot be used together.")
    return Wanted(
        primary=ipv4(primaries[0]) if primaries else None,
        secondary=distinct([ipv4(one) for one in secondary], "privateIpAddresses"),
        secondary_count=count(params, "SecondaryPrivateIpAddressCount"),
        ipv6=distinct([ipv6(_member(one, "Ipv6Address")) for one in params.get("Ipv6Addresses", ())], "ipv6Addresses"),
        ipv6_count=count(params, "Ipv6AddressCount"),
        ipv4_prefixes=prefixes(params, "Ipv4Prefixes"),
        ipv4_prefix_count=count(params, "Ipv4PrefixCount"),
        ipv6_prefixes=prefixes(params, "Ipv6Prefixes"),
        ipv6_prefix_count=count(params, "Ipv6PrefixCount"),
    )


def _member(given: Any, member: str) -> str:
    """An item that is a structure in some operations and a text in others."""
    return given if isinstance(given, str) else given.get(member, "")


def count(params: Mapping[str, Any], name: str) -> int:
    """A count that is not negative. Raises InvalidParameterValue."""
    value = params.get(name) or 0
    if value < 0:
        raise InvalidParameterValue(f"Value ({value}) for parameter {name} is invalid. It must not be negative.")
    return value


def distinct(values: Sequence[str], name: str) -> tuple[str, ...]:
    """The same values. Raises InvalidParameterValue: one is there twice."""
    if len(set(values)) < len(values):
        raise InvalidParameterValue(f"The parameter {name} has the same value twice.")
    return tuple(values)


def ipv4(text: str) -> str:
    """An IPv4 address in its form. Raises InvalidParameterValue."""
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise InvalidParameterValue(f"invalid value for parameter address: {text}") from error


def ipv6(text: str) -> str:
    """An IPv6 address in its shortest form. Raises InvalidParameterValue."""
    try:
        return str(IPv6Address(text))
    except ValueError as error:
        raise InvalidParameterValue(f"invalid value for parameter ipv6Address: {text}") from error


def prefixes(params: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The prefixes of a parameter in their form. Raises InvalidParameterValue."""
    kind, length = (IPv4Network, IPV4_PREFIX) if name == "Ipv4Prefixes" else (IPv6Network, IPV6_PREFIX)
    found: list[str] = []
    for given in params.get(name, ()):
        text = _member(given, name[:-2])
        try:
            network = kind(text)
        except ValueError as error:
            raise InvalidParameterValue(f"Value ({text}) for parameter {name} is invalid.") from error
        if network.prefixlen != length:
            raise InvalidParameterValue(f"Value ({text}) for parameter {name} is invalid. It must be a /{length}.")
        found.append(str(network))
    return distinct(found, name)


def take_all(tx: Transaction, subnet: Subnet, interface: NetworkInterface, wanted: Wanted) -> NetworkInterface:
    """The interface with these addresses besides those that it has; all are claimed, or none.

    A primary address is taken when it has none yet.

    Raises:
        ServiceError: one is taken or not of the subnet, or there are not enough.
    """
    taken: list[str] = []
    scope = subnet_scope(subnet.id)

    def note(address: str) -> str:
        taken.append(address)
        return address

    try:
        addresses = [*interface.addresses]
        if not addresses:
            primary = note(take_private_address(tx, subnet, interface.id, wanted.primary))
            addresses.append(PrivateAddress(address=primary))
        named = (*wanted.secondary, *(None,) * wanted.secondary_count)
        addresses.extend(
            PrivateAddress(address=note(take_private_address(tx, subnet, interface.id, one))) for one in named
        )
        sixes = (*wanted.ipv6, *(None,) * wanted.ipv6_count)
        ipv6_addresses = [note(_take_ipv6(tx, subnet, interface.id, one)) for one in sixes]
        fours = (*wanted.ipv4_prefixes, *(None,) * wanted.ipv4_prefix_count)
        ipv4_prefixes = [_take_ipv4_prefix(tx, subnet, interface.id, one, taken) for one in fours]
        delegated = (*wanted.ipv6_prefixes, *(None,) * wanted.ipv6_prefix_count)
        ipv6_prefixes = [note(_take_ipv6_prefix(tx, subnet, interface.id, one)) for one in delegated]
    except ServiceError:
        for address in taken:
            tx.release(scope, address)
        raise
    return replace(
        interface,
        addresses=tuple(addresses),
        ipv6_addresses=(*interface.ipv6_addresses, *ipv6_addresses),
        ipv4_prefixes=(*interface.ipv4_prefixes, *ipv4_prefixes),
        ipv6_prefixes=(*interface.ipv6_prefixes, *ipv6_prefixes),
    )


def release_all(tx: Transaction, interface: NetworkInterface) -> None:
    """Gives all private addresses and prefixes of an interface back to its subnet."""
    for address in interface.claimed:
        tx.release(subnet_scope(interface.subnet_id), address)


def release_addresses(tx: Transaction, interface: NetworkInterface, gone: Collection[str]) -> None:
    """Gives some of an interface's private addresses and prefixes back to its subnet."""
    scope = subnet_scope(interface.subnet_id)
    for key in gone:
        tx.release(scope, key)
        if key in interface.ipv4_prefixes:
            for address in IPv4Network(key):
                tx.release(scope, str(address))


def _ipv6_network(subnet: Subnet) -> IPv6Network:
    if subnet.ipv6_block is None:
        raise InvalidParameterValue(f"The subnet '{subnet.id}' does not have an IPv6 CIDR block.")
    return IPv6Network(subnet.ipv6_block.cidr)


def _claim(tx: Transaction, subnet: Subnet, key: str, holder: str) -> None:
    try:
        tx.claim(subnet_scope(subnet.id), key, holder)
    except ClaimTaken as taken:
        raise AddressInUse(f"Address {key} is in use.") from taken


def _take_ipv6(tx: Transaction, subnet: Subnet, holder: str, wanted: str | None) -> str:
    """Claims an IPv6 address: not one of the first four or the last, which are EC2's, nor one in a delegated prefix."""
    network = _ipv6_network(subnet)
    scope = subnet_scope(subnet.id)
    if wanted is not None:
        if not _is_usable_ipv6(network, IPv6Address(wanted)):
            raise InvalidParameterValue(
                f"Value ({wanted}) for parameter ipv6Addresses is invalid. It is not an address of {network} that an "
                "interface can have."
            )
        if tx.owner_of(scope, _prefix_around(wanted)) is not None:
            raise AddressInUse(f"Address {wanted} is in use.")
        _claim(tx, subnet, wanted, holder)
        return wanted
    reserved = _reservations(tx, subnet, 6)
    for _ in range(_GUESSES):
        address = network[secrets.randbelow(network.num_addresses)]
        free = tx.owner_of(scope, str(address)) is None and tx.owner_of(scope, _prefix_around(str(address))) is None
        if free and _is_usable_ipv6(network, address) and _use_of(IPv6Network(address), reserved) is None:
            tx.claim(scope, str(address), holder)
            return str(address)
    raise InsufficientFreeAddressesInSubnet(f"There are not enough free IPv6 addresses in subnet '{subnet.id}'.")


def _is_usable_ipv6(network: IPv6Network, address: IPv6Address) -> bool:
    return address in network and 4 <= int(address) - int(network.network_address) < network.num_addresses - 1


def _prefix_around(address: str) -> str:
    return str(IPv6Network((address, IPV6_PREFIX), strict=False))


def _take_ipv4_prefix(tx: Transaction, subnet: Subnet, holder: str, wanted: str | None, taken: list[str]) -> str:
    """Claims a /28 and its addresses, and adds these claims to ``taken``."""
    scope = subnet_scope(subnet.id)
    if wanted is not None:
        prefix = IPv4Network(wanted)
        ends = (str(prefix[0]), str(prefix[-1]))
        if not all(is_usable(subnet.cidr, end) for end in ends):
            raise InvalidParameterValue(
                f"Value ({wanted}) for parameter Ipv4Prefixes is invalid. It is not a free range of {subnet.cidr}."
            )
    else:
        prefix = _free_ipv4_prefix(tx, subnet)
    for key in (str(prefix), *map(str, prefix)):
        _claim(tx, subnet, key, holder)
        taken.append(key)
    assert tx.owner_of(scope, str(prefix)) == holder
    return str(prefix)


def _free_ipv4_prefix(tx: Transaction, subnet: Subnet) -> IPv4Network:
    """A free /28, out of the reservations for prefixes first."""
    network = IPv4Network(subnet.cidr)
    if network.prefixlen < IPV4_PREFIX:
        taken = tx.claims(subnet_scope(subnet.id))
        reserved = _reservations(tx, subnet, 4)
        # The first and the last /28 have reserved addresses.
        blocks = list(network.subnets(new_prefix=IPV4_PREFIX))[1:-1]
        secrets.SystemRandom().shuffle(blocks)
        inside = [one for one in blocks if _use_of(one, reserved) == "prefix"]
        for prefix in (*inside, *(one for one in blocks if _use_of(one, reserved) is None)):
            if not any(str(address) in taken for address in prefix):
                return prefix
    raise InsufficientCidrBlocks("The specified subnet does not have enough free cidr blocks to satisfy the request.")


def _reservations(tx: Transaction, subnet: Subnet, version: int) -> list[tuple[IPv4Network | IPv6Network, str]]:
    """The subnet's reservations of one family, and what each is for."""
    found = ((ip_network(one.cidr), one.use) for one in tx.list(SubnetReservation, subnet_id=subnet.id))
    return [(network, use) for network, use in found if network.version == version]


def _use_of(block: IPv4Network | IPv6Network, reserved: Sequence[tuple[IPv4Network | IPv6Network, str]]) -> str | None:
    """What a block is reserved for, wholly or in part; None when it is not."""
    return next((use for network, use in reserved if network.overlaps(block)), None)


def _take_ipv6_prefix(tx: Transaction, subnet: Subnet, holder: str, wanted: str | None) -> str:
    """Claims a /80 in which nobody has an address. The first one has the subnet's reserved addresses."""
    network = _ipv6_network(subnet)
    scope = subnet_scope(subnet.id)
    used = {_prefix_around(key.partition("/")[0]) for key in tx.claims(scope) if ":" in key}
    if wanted is not None:
        prefix = IPv6Network(wanted)
        if not prefix.subnet_of(network) or prefix.network_address == network.network_address:
            raise InvalidParameterValue(
                f"Value ({wanted}) for parameter Ipv6Prefixes is invalid. It is not a range of {network} that an "
                "interface can have."
            )
        if wanted in used:
            raise AddressInUse(f"Address {wanted} is in use.")
        _claim(tx, subnet, wanted, holder)
        return wanted
    reserved = _reservations(tx, subnet, 6)
    inside = [one for one, use in reserved if use == "prefix"]
    for number in range(_GUESSES):
        within = inside[number % len(inside)] if inside and number < _GUESSES // 2 else network
        prefix = _random_prefix(within)
        taken = str(prefix) in used or prefix.network_address == network.network_address
        if not taken and (within is not network or _use_of(prefix, reserved) is None):
            tx.claim(scope, str(prefix), holder)
            return str(prefix)
    raise InsufficientCidrBlocks("The specified subnet does not have enough free cidr blocks to satisfy the request.")


def _random_prefix(network: IPv4Network | IPv6Network) -> IPv6Network:
    """A /80 that overlaps a network."""
    blocks = 1 << max(IPV6_PREFIX - network.prefixlen, 0)
    start = int(network.network_address) + (secrets.randbelow(blocks) << (128 - IPV6_PREFIX))
    return IPv6Network((start, IPV6_PREFIX), strict=False)


def check_counts_of_type(interface: NetworkInterface | None, wanted: Wanted, type_: InstanceType) -> None:
    """As ``check_type_limits``, of an interface (None: a new one) that gets the wanted addresses too."""
    own = (1, 0) if interface is None else _counts(interface)
    check_counts(own[0] + _fours(wanted), own[1] + _sixes(wanted), type_)


def _counts(interface: NetworkInterface) -> tuple[int, int]:
    fours = len(interface.addresses) + len(interface.ipv4_prefixes)
    return fours, len(interface.ipv6_addresses) + len(interface.ipv6_prefixes)


def _fours(wanted: Wanted) -> int:
    return len(wanted.secondary) + wanted.secondary_count + len(wanted.ipv4_prefixes) + wanted.ipv4_prefix_count


def _sixes(wanted: Wanted) -> int:
    return len(wanted.ipv6) + wanted.ipv6_count + len(wanted.ipv6_prefixes) + wanted.ipv6_prefix_count


def check_counts(fours: int, sixes: int, type_: InstanceType) -> None:
    """Whether instances of a type can have an interface with so many addresses. A prefix counts as an address.

    Raises:
        LimitExceeded: there are too many. InvalidParameterCombination: it has IPv6, and the type has not.
    """
    limits = type_.network
    if fours > limits.ipv4_addresses_per_interface:
        raise LimitExceeded("Number of private addresses will exceed limit.", code="PrivateIpAddressLimitExceeded")
    if sixes and not limits.ipv6_supported:
        raise InvalidParameterCombination(f"The instance type {type_.name} does not support IPv6 addresses.")
    if sixes > limits.ipv6_addresses_per_interface:
        raise LimitExceeded("Number of IPv6 addresses will exceed limit.", code="Ipv6AddressLimitExceeded")
