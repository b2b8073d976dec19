"""Route tables."""

from typing import ClassVar

import msgspec

from pileus.records.tagged import Tagged


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """``destination`` is an IPv4 or IPv6 CIDR or a prefix list's id; ``target`` is ``local``, or the id of a gateway
    (internet, egress-only, NAT, carrier), an interface, a peering or a gateway endpoint.

    A route whose target is gone stays, as a black hole: see ``controllers.routing`` and ``services.ec2.route_tables``.
    """

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
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id", "targets", "subnet_ids", "association_ids", "prefix_lists")

    vpc_id: str
    routes: tuple[Route, ...]
    associations: tuple[RouteAssociation, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """What its routes lead to, each once."""
        return tuple(dict.fromkeys(route.target for route in self.routes))

    @property
    def subnet_ids(self) -> tuple[str, ...]:
        """The subnets that are associated with it by themselves."""
        return tuple(association.subnet_id for association in self.associations if association.subnet_id)

    @property
    def association_ids(self) -> tuple[str, ...]:
        """The ids of its associations."""
        return tuple(association.id for association in self.associations)

    @property
    def prefix_lists(self) -> tuple[str, ...]:
        """The prefix lists that its routes name as destinations."""
        return tuple(route.destination for route in self.routes if route.destination.startswith("pl-"))
