"""NAT gateways."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged


class NatAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address from which a NAT gateway sends: private, and with a public gateway the Elastic IP before it."""

    private_address: str
    public_address: str | None = None
    allocation_id: str | None = None
    association_id: str | None = None
    primary: bool = False


class NatGateway(Tagged, frozen=True, kw_only=True):
    """A NAT gateway in a subnet, behind the interface ``interface_id``. A deleted one is shown for an hour."""

    kind: ClassVar[str] = "nat-gateway"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id", "subnet_id", "interface_id", "state")

    vpc_id: str
    subnet_id: str
    interface_id: str
    connectivity: Literal["public", "private"]
    addresses: tuple[NatAddress, ...]
    created: datetime
    state: Literal["pending", "available", "deleting", "deleted", "failed"] = "pending"
    deleted: datetime | None = None
    failure_code: str | None = None
    failure_message: str | None = None
