"""Internet gateways."""

from typing import ClassVar

from pileus.records.tagged import Tagged


class InternetGateway(Tagged, frozen=True, kw_only=True):
    """Attached to at most one VPC."""

    kind: ClassVar[str] = "internet-gateway"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id",)

    vpc_id: str | None = None
