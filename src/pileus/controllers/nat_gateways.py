"""NAT gateways converge: pending ones become available or fail, those that are to go lose their interface and addresses.

Called by ``routing``.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec.structs import replace

from pileus.controllers.managed_interfaces import remove
from pileus.records import NatGateway
from pileus.store import Transaction, View

log = logging.getLogger(__name__)

SHOWN = timedelta(hours=1)
"""For how long a gateway that is deleted, or has failed, can still be seen."""


def due(view: View, now: datetime) -> Iterator[NatGateway]:
    """The gateways for which there is something to do."""
    yield from view.list(NatGateway, state="pending")
    yield from view.list(NatGateway, state="deleting")
    for state in ("deleted", "failed"):
        for nat in view.list(NatGateway, state=state):
            if nat.deleted is not None and nat.deleted + SHOWN <= now:
                yield nat


def settle(tx: Transaction, now: datetime) -> None:
    """Does what is to be done."""
    for nat in list(due(tx, now)):
        match nat.state:
            case "pending" if nat.failure_code is None:
                tx.put(replace(nat, state="available"))
            case "pending":
                log.warning("NAT gateway can't be had", extra={"nat": nat.id, "reason": nat.failure_message})
                tx.put(replace(nat, state="failed", deleted=now))
            case "deleting":
                remove(tx, nat.interface_id)
                tx.put(replace(nat, state="deleted", deleted=now))
            case _:
                tx.delete(nat)
