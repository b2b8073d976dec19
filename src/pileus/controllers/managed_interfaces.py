"""Interfaces that the cloud made for its own services, and removes when those go."""

from pileus.records import Address, NetworkInterface
from pileus.records.subnet import subnet_scope
from pileus.store import Transaction


def remove(tx: Transaction, interface_id: str) -> None:
    """Deletes an interface, if it is there: its Elastic IPs are unbound, its private addresses free."""
    interface = tx.get(NetworkInterface, interface_id)
    if interface is None:
        return
    for one in interface.addresses:
        address = tx.get(Address, one.address_id) if one.address_id else None
        if address is not None:
            tx.put(address.unbound())
    for claimed in interface.claimed:
        tx.release(subnet_scope(interface.subnet_id), claimed)
    tx.delete(interface)
