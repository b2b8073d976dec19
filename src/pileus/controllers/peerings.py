"""VPC peerings converge: requests that nobody answers expire, those of VPCs that are gone end, old ones are forgotten.

Called by ``routing``.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec.structs import replace

from pileus.records import Peering, Vpc
from pileus.store import Transaction, View

_SHOWN = {"expired": timedelta(days=2)}
_SHOWN_ELSE = timedelta(hours=2)
"""For how long peerings that are over can still be seen."""


def due(view: View, now: datetime) -> Iterator[Peering]:
    """The peerings for which there is something to do."""
    for peering in view.list(Peering):
        if _after(view, peering, now) != peering:
            yield peering


def settle(tx: Transaction, now: datetime) -> None:
    """Does what is to be done."""
    for peering in list(due(tx, now)):
        after = _after(tx, peering, now)
        if after is None:
            tx.delete(peering)
        else:
            tx.put(after)


def _after(view: View, peering: Peering, now: datetime) -> Peering | None:
    """What becomes of a peering; None: nothing remains."""
    if peering.state in {"pending-acceptance", "active"}:
        if peering.state == "pending-acceptance" and peering.expires <= now:
            return replace(peering, state="expired", message="Expired", ended=peering.expires)
        for side in (peering.requester, peering.accepter):
            if view.get(Vpc, side.vpc_id) is None:
                return replace(peering, state="deleted", message=f"Deleted by {side.account}", ended=now)
        return peering
    ended = peering.ended or now
    return None if ended + _SHOWN.get(peering.state, _SHOWN_ELSE) <= now else peering
