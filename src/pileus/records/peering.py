"""VPC peering connections."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged


class PeeringSide(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two VPCs. ``resolves``: the other side's public names mean private addresses here."""

    vpc_id: str
    account: str
    region: str
    resolves: bool = False


class Peering(Tagged, frozen=True, kw_only=True):
    """A peering; its own account and region are the requester's, and both sides see it.

    ``expires`` is when an unanswered request ends (a week); ``ended`` when it came to its last state.
    """

    kind: ClassVar[str] = "vpc-peering-connection"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_ids", "accepter_account", "state")

    requester: PeeringSide
    accepter: PeeringSide
    requested: datetime
    expires: datetime
    state: Literal["pending-acceptance", "active", "rejected", "expired", "deleted", "failed"] = "pending-acceptance"
    message: str = ""
    ended: datetime | None = None

    @property
    def vpc_ids(self) -> tuple[str, str]:
        """Both VPCs."""
        return (self.requester.vpc_id, self.accepter.vpc_id)

    @property
    def accepter_account(self) -> str:
        """The account that may accept it."""
        return self.accepter.account
