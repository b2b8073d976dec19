"""Gateways of a VPC that have nothing of their own: internet, egress-only and carrier gateways."""

from typing import ClassVar

from pileus.records.tagged import Tagged


class InternetGateway(Tagged, frozen=True, kw_only=True):
    """Attached to at most one VPC."""

    kind: ClassVar[str] = "internet-gateway"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id",)

    vpc_id: str | None = None


class EgressOnlyGateway(Tagged, frozen=True, kw_only=True):
    """Lets IPv6 out of a VPC, and only answers in."""

    kind: ClassVar[str] = "egress-only-internet-gateway"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id",)

    vpc_id: str


class CarrierGateway(Tagged, frozen=True, kw_only=True):
    """The way of a VPC's subnets in wavelength zones to the carrier's network."""

    kind: ClassVar[str] = "carrier-gateway"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id",)

    vpc_id: str
