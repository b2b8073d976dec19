"""What routes lead to converges: NAT gateways, peerings and endpoints. Called by ``loop`` whenever one of them changed,
and now and then, for what time alone brings about.
"""

from datetime import datetime

from pileus.controllers import nat_gateways, peerings, vpc_endpoints
from pileus.records import NatGateway, Peering, Vpc, VpcEndpoint
from pileus.store import Transaction, View

KINDS = frozenset({NatGateway.kind, Peering.kind, Vpc.kind, VpcEndpoint.kind})
"""What it depends on."""


def unsettled(view: View, now: datetime) -> bool:
    """Whether there is something to do."""
    waiting = (nat_gateways.due(view, now), peerings.due(view, now), vpc_endpoints.due(view))
    return any(next(iter(due), None) is not None for due in waiting)


def settle(tx: Transaction, now: datetime) -> None:
    """Does what is to be done now."""
    nat_gateways.settle(tx, now)
    peerings.settle(tx, now)
    vpc_endpoints.settle(tx)
