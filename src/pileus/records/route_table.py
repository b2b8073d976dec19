"""Route tables."""

from typing import ClassVar

import msgspec

from pileus.records.tagged import Tagged


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """``target`` is ``local`` or a gateway's id."""

    destination: str
    target: str
    origin: str = "CreateRoute"


class RouteAssociation(msgspec.Struct, frozen=True, kw_only=True):
    """``subnet_id`` is None for the main association."""

    id: str
    subnet_id: str | None = None

    @property
    def main(self) -> bool:
        """Whether subnets without an association of their own use this table."""
        return self.subnet_id is None


class RouteTable(Tagged, frozen=True, kw_only=True):
    """The routes of the subnets that are associated with it."""

    kind: ClassVar[str] = "route-table"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id",)

    vpc_id: str
    routes: tuple[Route, ...]
    associations: tuple[RouteAssociation, ...] = ()
