"""Network interfaces converge: what hosts report and what the API wants are put together by ``network_interface.settled``.

Called by ``pileus.controllers.instances``, ``hosts`` and ``loop``. Every step is one transaction of the caller's.
"""

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from pileus.records import Address, Instance, NetworkInterface
from pileus.records.address import pool_scope
from pileus.records.network_interface import settled
from pileus.records.subnet import subnet_scope
from pileus.store import Transaction, View

log = logging.getLogger(__name__)


def unsettled_of(view: View, instance_id: str) -> Sequence[str]:
    """The interfaces of an instance for which something follows from what is on record."""
    instance = view.get(Instance, instance_id)
    return [one.id for one in view.list(NetworkInterface, instance_id=instance_id) if settled(one, instance) != one]


def settle_of(tx: Transaction, instance_id: str) -> None:
    """Carries out what follows for the interfaces of an instance until they rest."""
    instance = tx.get(Instance, instance_id)
    for one in list(tx.list(NetworkInterface, instance_id=instance_id)):
        before, after = one, settled(one, instance)
        while after != before:
            before, after = after, settled(after, instance)
        if after == one:
            continue
        if after.attachment is None:
            log.info("interface has left its instance", extra={"interface": one.id, "instance": instance_id})
            _drop_instance(tx, after)
            after = _without_given(tx, after)
        tx.put(after)


def give_back_public_addresses(tx: Transaction, instance_id: str) -> None:
    """At stop, addresses that EC2 gave go back to the pool; Elastic IPs stay."""
    for one in list(tx.list(NetworkInterface, instance_id=instance_id)):
        bare = _without_given(tx, one)
        if bare != one:
            tx.put(bare)


def let_go(tx: Transaction, instance_id: str) -> None:
    """The interfaces of an instance that has ended: those that go along with it are deleted, others are free."""
    for one in list(tx.list(NetworkInterface, instance_id=instance_id)):
        bare = _without_given(tx, one)
        if bare.attachment is not None and not bare.attachment.delete_on_termination:
            _drop_instance(tx, bare)
            tx.put(replace(bare, attachment=None))
            continue
        for private in bare.addresses:
            address = tx.get(Address, private.address_id) if private.address_id else None
            if address is not None:
                tx.put(address.unbound())
        for claimed in bare.claimed:
            tx.release(subnet_scope(bare.subnet_id), claimed)
        tx.delete(bare)


def _without_given(tx: Transaction, interface: NetworkInterface) -> NetworkInterface:
    """The interface without the addresses that EC2 gave, which are free again."""
    for one in interface.addresses:
        if one.public is not None and one.address_id is None:
            tx.release(pool_scope(interface.region), one.public)
            interface = interface.with_address(one.bare())
    return interface


def _drop_instance(tx: Transaction, interface: NetworkInterface) -> None:
    """Elastic IPs stay with an interface that leaves its instance."""
    for one in interface.addresses:
        address = tx.get(Address, one.address_id) if one.address_id else None
        if address is not None:
            tx.put(replace(address, instance_id=None))
