"""Elastic IP addresses, and the pool that all public addresses come from."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec
from msgspec.structs import replace

from pileus.records.tagged import Tagged


class AddressTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """The offer of an Elastic IP to another account, open until ``expires``. ``source`` made it of its ``allocation_id``."""

    account: str
    expires: datetime
    source: str
    allocation_id: str
    status: Literal["pending", "disabled", "accepted"] = "pending"
    accepted: datetime | None = None


class Address(Tagged, frozen=True, kw_only=True):
    """An Elastic IP; ``id`` is its allocation id (``eipalloc-``).

    ``carrier``: it is a carrier's address, in a wavelength zone. ``ptr`` is its reverse name, with its closing dot.
    ``transfer`` is an offer to another account, or of the account before.
    """

    kind: ClassVar[str] = "address"
    indexes: ClassVar[tuple[str, ...]] = (
        "public_address",
        "interface_id",
        "instance_id",
        "transfer_source",
        "ptr_region",
    )
    touches: ClassVar[tuple[str, ...]] = ("instance_id", "interface_id")

    public_address: str
    allocated: datetime
    border_group: str
    association_id: str | None = None
    interface_id: str | None = None
    interface_account: str | None = None
    instance_id: str | None = None
    private_address: str | None = None
    carrier: bool = False
    ptr: str | None = None
    transfer: AddressTransfer | None = None

    @property
    def transfer_source(self) -> str | None:
        """Who has offered it, or had it before."""
        return self.transfer.source if self.transfer else None

    @property
    def ptr_region(self) -> str | None:
        """Its region where it has a reverse name."""
        return self.region if self.ptr else None

    def unbound(self) -> "Address":
        """The same Elastic IP, associated with nothing."""
        return replace(
            self,
            association_id=None,
            interface_id=None,
            interface_account=None,
            instance_id=None,
            private_address=None,
        )


def pool_scope(region: str) -> str:
    """The claim scope of a region's public addresses; holders are interface ids or allocation ids."""
    return f"public-address/{region}"
