"""The interfaces of one instance of a launch: written with all their addresses, or taken back."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import Address, Instance, NetworkInterface
from pileus.records.network_interface import InterfaceAttachment
from pileus.services.ec2.address_binding import give_public_address
from pileus.services.ec2.errors import InsufficientAddressCapacity, InsufficientFreeAddressesInSubnet
from pileus.services.ec2.instances.networking import Nic
from pileus.services.ec2.interface_addresses import InsufficientCidrBlocks
from pileus.services.ec2.interface_attachment import put_into
from pileus.services.ec2.interface_creation import make_interface, remove_interface

NO_ADDRESS = (InsufficientFreeAddressesInSubnet, InsufficientAddressCapacity, InsufficientCidrBlocks)
"""What ends a launch of several instances early."""


def create_interfaces(
    context: Context, nics: Sequence[Nic], instance: Instance, tags: Mapping[str, str]
) -> list[NetworkInterface]:
    """Writes the interfaces of one instance, attached to it, with their private and public addresses: all or none."""
    made: list[NetworkInterface] = []
    try:
        for nic in nics:
            made.append(_create(context, nic, instance, tags))
            if nic.public or nic.carrier:
                made[-1] = give_public_address(context, made[-1], carrier=nic.carrier)
    except NO_ADDRESS:
        discard_interfaces(context, nics, made)
        raise
    return made


def discard_interfaces(context: Context, nics: Sequence[Nic], interfaces: Sequence[NetworkInterface]) -> None:
    """Undoes ``create_interfaces`` within its transaction; interfaces that existed before are only detached."""
    existing = {nic.existing.id for nic in nics if nic.existing}
    for interface in interfaces:
        if interface.id not in existing:
            remove_interface(context.tx, interface)
            continue
        for one in interface.addresses:
            address = context.tx.get(Address, one.address_id) if one.address_id else None
            if address is not None:
                context.tx.put(replace(address, instance_id=None))
        context.tx.put(replace(interface, attachment=None))


def _create(context: Context, nic: Nic, instance: Instance, tags: Mapping[str, str]) -> NetworkInterface:
    attachment = InterfaceAttachment(
        id=new_id("eni-attach"),
        instance_id=instance.id,
        device_index=nic.index,
        attached=context.now,
        delete_on_termination=nic.delete_on_termination,
    )
    if nic.existing is not None:
        return put_into(context.tx, nic.existing, attachment)
    return make_interface(
        context,
        nic.subnet,
        wanted=nic.wanted,
        groups=nic.groups,
        tags=tags,
        description=nic.description,
        attachment=attachment,
        auto_public=nic.public or nic.carrier,
        primary_ipv6=nic.primary_ipv6,
    )
