"""Route tables."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.filters import absent
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set
from pileus.records import RouteTable
from pileus.records.route_table import Route, RouteAssociation
from pileus.services.ec2.resources import ROUTE_TABLE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeRouteTablesRequestTypeDef


def _draw_route(route: Route) -> dict[str, Any]:
    return {
        "DestinationCidrBlock": route.destination,
        "GatewayId": route.target,
        "Origin": route.origin,
        "State": "active",
    }


def _draw_association(table: RouteTable, association: RouteAssociation) -> dict[str, Any]:
    return {
        "RouteTableAssociationId": association.id,
        "RouteTableId": table.id,
        "SubnetId": association.subnet_id,
        "Main": association.main,
        "AssociationState": {"State": "associated"},
    }


def _draw(_: Context, table: RouteTable) -> dict[str, Any]:
    return {
        "RouteTableId": table.id,
        "VpcId": table.vpc_id,
        "OwnerId": table.account,
        "Routes": [_draw_route(route) for route in table.routes],
        "Associations": [_draw_association(table, association) for association in table.associations],
        "PropagatingVgws": [],
        "Tags": tag_set(table.tags),
    }


ROUTE_TABLES = Listing(
    kind=RouteTable,
    member="RouteTables",
    draw=_draw,
    ids="RouteTableIds",
    find=ROUTE_TABLE.find,
    page=Page(least=5, most=100),
    filters={
        "association.gateway-id": absent,
        "association.main": lambda _, table: [str(a.main).lower() for a in table.associations],
        "association.route-table-association-id": lambda _, table: [a.id for a in table.associations],
        "association.route-table-id": lambda _, table: [table.id for _ in table.associations],
        "association.subnet-id": lambda _, table: [a.subnet_id for a in table.associations if a.subnet_id],
        "owner-id": lambda _, table: table.account,
        "route.destination-cidr-block": lambda _, table: [route.destination for route in table.routes],
        "route.destination-ipv6-cidr-block": absent,
        "route.destination-prefix-list-id": absent,
        "route.egress-only-internet-gateway-id": absent,
        "route.gateway-id": lambda _, table: [route.target for route in table.routes],
        "route.instance-id": absent,
        "route.nat-gateway-id": absent,
        "route.origin": lambda _, table: [route.origin for route in table.routes],
        "route.state": lambda _, table: ["active" for _ in table.routes],
        "route.transit-gateway-id": absent,
        "route.vpc-peering-connection-id": absent,
        "route-table-id": lambda _, table: table.id,
        "vpc-id": lambda _, table: table.vpc_id,
    },
)


@ec2.reads("DescribeRouteTables")
def describe_route_tables(context: Context, params: "DescribeRouteTablesRequestTypeDef") -> dict[str, Any]:
    """The caller's route tables."""
    return ROUTE_TABLES.answer(context, params)
