"""VPC peering connections."""

from collections.abc import Mapping
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

    ``tags`` are the requester's, ``accepter_tags`` the accepter's: each side sees its own.
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
    accepter_tags: Mapping[str, str] = {}

    @property
    def vpc_ids(self) -> tuple[str, str]:
        """Both VPCs."""
        return (self.requester.vpc_id, self.accepter.vpc_id)

    @property
    def accepter_account(self) -> str:
        """The account that may accept it."""
        return self.accepter.account

    def is_requester(self, account: str, region: str) -> bool:
        """Whether an account sees it as the requester in a region. One that peers two VPCs of its own there does."""
        return (self.requester.account, self.requester.region) == (account, region)

    def tags_for(self, account: str, region: str) -> Mapping[str, str]:
        """The tags that an account sees in a region."""
        return self.tags if self.is_requester(account, region) else self.accepter_tags
