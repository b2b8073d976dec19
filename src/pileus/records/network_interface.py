"""Network interfaces."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged


class InterfaceAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """An interface in an instance."""

    id: str
    instance_id: str
    device_index: int
    attached: datetime
    delete_on_termination: bool = True
    status: Literal["attaching", "attached", "detaching"] = "attached"


class NetworkInterface(Tagged, frozen=True, kw_only=True):
    """An interface in a subnet with its primary private address.

    ``public_address`` is an address that EC2 gave (``address_id`` None: it is let go at stop) or an Elastic IP
    (``address_id`` its allocation).
    """

    kind: ClassVar[str] = "network-interface"
    indexes: ClassVar[tuple[str, ...]] = (
        "instance_id",
        "subnet_id",
        "vpc_id",
        "groups",
        "private_address",
        "public_address",
    )
    touches: ClassVar[tuple[str, ...]] = ("instance_id",)

    subnet_id: str
    vpc_id: str
    zone: str
    mac: str
    private_address: str
    groups: tuple[str, ...]
    created: datetime
    description: str = ""
    source_dest_check: bool = True
    interface_type: str = "interface"
    requester_id: str | None = None
    attachment: InterfaceAttachment | None = None
    public_address: str | None = None
    address_id: str | None = None
    association_id: str | None = None
    auto_public: bool = False

    @property
    def instance_id(self) -> str | None:
        """The instance that it is attached to."""
        return self.attachment.instance_id if self.attachment else None

    @property
    def status(self) -> str:
        """``available`` or ``in-use``."""
        return "in-use" if self.attachment else "available"

    @property
    def device_index(self) -> int:
        """Its place in its instance; 0 while it has none."""
        return self.attachment.device_index if self.attachment else 0

    @property
    def public_owner(self) -> str | None:
        """Whose its public address is: the account's (an Elastic IP), ``amazon``'s (the pool's), None without one."""
        if self.public_address is None:
            return None
        return self.account if self.address_id else "amazon"
