"""Public addresses: taken from the region's pools, bound to private addresses of interfaces and given back.

Used by everything that has interfaces: launches, network interfaces, Elastic IPs, NAT gateways.
"""

from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network

from msgspec.structs import replace

from pileus.base.config import RegionConfig, api_address, s3_address
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import Address, Instance, NetworkInterface
from pileus.records.address import pool_scope
from pileus.records.instance import State
from pileus.records.network_interface import PrivateAddress
from pileus.services.ec2.errors import InsufficientAddressCapacity
from pileus.services.ec2.subnets import take_free
from pileus.store import Transaction


def public_range(region: RegionConfig, cidr: str) -> tuple[int, int]:
    """First and last address (as integers) of a pool that somebody may have.

    The first three and the last one are kept, and those of the cloud's own services, which border on them.
    """
    network = IPv4Network(cidr)
    first, last = int(network.network_address) + 3, int(network.broadcast_address) - 1
    kept = {int(IPv4Address(api_address(region))), int(IPv4Address(s3_address(region)))}
    while first in kept:
        first += 1
    while last in kept:
        last -= 1
    return first, last


def is_public(region: RegionConfig, address: str, *, carrier: bool = False) -> bool:
    """Whether this is an address that the region's pools can give. Raises ValueError: it is no IPv4 address."""
    number = int(IPv4Address(address))
    ranges = (public_range(region, cidr) for cidr in (region.carrier_pool if carrier else region.public_pool))
    return any(first <= number <= last for first, last in ranges)


def take_public_address(context: Context, tx: Transaction, holder: str, *, carrier: bool = False) -> str:
    """Claims an address of the region's public (or its carrier's) pool. Raises InsufficientAddressCapacity."""
    region = context.env.config.region(context.region)
    for cidr in region.carrier_pool if carrier else region.public_pool:
        first, last = public_range(region, cidr)
        address = take_free(tx, pool_scope(context.region), first, last, holder)
        if address is not None:
            return address
    raise InsufficientAddressCapacity("There are not enough free public addresses in the pool of this region.")


def in_wavelength_zone(context: Context, interface: NetworkInterface) -> bool:
    """Whether an interface is where public addresses are a carrier's."""
    return interface.zone in context.env.config.region(interface.region).wavelength_zones


def detach_public_address(tx: Transaction, interface: NetworkInterface, private: str | None = None) -> NetworkInterface:
    """The interface without the public address of a private one (the primary by default).

    One that EC2 gave is free again, an Elastic IP loses its association.
    """
    one = interface.address(private) if private else interface.primary
    if one.public is None:
        return interface
    address = tx.get(Address, one.address_id) if one.address_id else None
    if address is not None:
        tx.put(address.unbound())
    else:
        tx.release(pool_scope(interface.region), one.public)
    return tx.put(interface.with_address(one.bare()))


def detach_public_addresses(tx: Transaction, interface: NetworkInterface) -> NetworkInterface:
    """The interface without any public address."""
    for one in interface.addresses:
        interface = detach_public_address(tx, interface, one.address)
    return interface


def give_public_address(context: Context, interface: NetworkInterface, *, carrier: bool = False) -> NetworkInterface:
    """The interface with an address of the pool at its primary one. Raises InsufficientAddressCapacity."""
    public = take_public_address(context, context.tx, interface.id, carrier=carrier)
    return context.tx.put(interface.with_address(replace(interface.primary, public=public, carrier=carrier)))


def gets_public_address(context: Context, interface: NetworkInterface) -> bool:
    """Whether an interface gets a public address anew when its instance starts or its Elastic IP goes.

    Only the primary one of an instance that has no other does, and only while no secondary address has an Elastic IP. See
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html#concepts-public-addresses.
    """
    if not interface.auto_public or interface.public_addresses or interface.attachment is None:
        return False
    return len(context.view.list(NetworkInterface, instance_id=interface.attachment.instance_id)) == 1


def bind_address(context: Context, address: Address, interface: NetworkInterface, private: str) -> str:
    """Binds an Elastic IP to a private address of an interface, wherever it was before: the association's id.

    A public address that EC2 gave to the private one is free again, another Elastic IP loses its association.
    """
    tx = context.tx
    if address.interface_id is not None:
        unbind_address(context, address)
    current = tx.get(NetworkInterface, interface.id)
    bare = tx.get(Address, address.id)
    assert current is not None, f"{interface.id} was just there"
    assert bare is not None, f"{address.id} was just there"
    current = detach_public_address(tx, current, private)
    association = new_id("eipassoc")
    tx.put(
        replace(
            bare,
            association_id=association,
            interface_id=current.id,
            interface_account=current.account,
            instance_id=current.instance_id,
            private_address=private,
        )
    )
    tx.put(
        current.with_address(
            PrivateAddress(
                address=private,
                public=bare.public_address,
                address_id=bare.id,
                association_id=association,
                carrier=bare.carrier,
            )
        )
    )
    return association


def unbind_address(context: Context, address: Address) -> None:
    """Takes an Elastic IP from where it is. A running instance that was launched with a public address gets one again,
    while the pool has any.
    """
    assert address.interface_id is not None, f"{address.id} is associated with nothing"
    interface = context.tx.get(NetworkInterface, address.interface_id)
    assert interface is not None, f"{address.id} is associated with an interface that is gone"
    interface = detach_public_address(context.tx, interface, address.private_address)
    if address.private_address != interface.private_address:
        return
    instance = context.tx.get(Instance, interface.instance_id) if interface.instance_id else None
    if instance and instance.state in {State.PENDING, State.RUNNING} and gets_public_address(context, interface):
        with suppress(InsufficientAddressCapacity):
            give_public_address(context, interface, carrier=address.carrier)
