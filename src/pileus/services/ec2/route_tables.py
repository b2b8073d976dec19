"""Route tables: which there are, and which subnets they hold for. Their routes are in ``routes``."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import Field, absent
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set, tags_for
from pileus.records import NetworkInterface, RouteTable, VpcEndpoint
from pileus.records.route_table import Route, RouteAssociation
from pileus.records.routing import route_kind, routes_of
from pileus.services.ec2.errors import (
    DependencyViolation,
    InvalidParameterCombination,
    InvalidParameterValue,
    MalformedId,
    MissingParameter,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.resources import ROUTE_TABLE, SUBNET, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ROUTE_TABLES_PER_VPC
from pileus.store import Transaction

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AssociateRouteTableRequestTypeDef,
        CreateRouteTableRequestTypeDef,
        DeleteRouteTableRequestTypeDef,
        DescribeRouteTablesRequestTypeDef,
        DisassociateRouteTableRequestTypeDef,
        ReplaceRouteTableAssociationRequestTypeDef,
    )

_TARGETS: Mapping[str, str] = {
    "nat": "NatGatewayId",
    "eigw": "EgressOnlyInternetGatewayId",
    "cagw": "CarrierGatewayId",
    "pcx": "VpcPeeringConnectionId",
    "eni": "NetworkInterfaceId",
}
"""The member of a route that names its target, by the target's prefix; of all others it is GatewayId."""


class AlreadyAssociated(ServiceError):
    """The subnet has a route table of its own."""

    code = "Resource.AlreadyAssociated"


def destination_member(destination: str) -> str:
    """The member of a route that names this destination."""
    if destination.startswith("pl-"):
        return "DestinationPrefixListId"
    return "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"


def draw_route(context: Context, table: RouteTable, route: Route) -> dict[str, Any]:
    """A route as answers have it; one to an interface also names the instance that has it."""
    drawn = {
        destination_member(route.destination): route.destination,
        _TARGETS.get(route.target.partition("-")[0], "GatewayId"): route.target,
        "Origin": route.origin,
        "State": "blackhole" if route_kind(context.view, table.vpc_id, route.target) == "blackhole" else "active",
    }
    interface = context.view.get(NetworkInterface, route.target)
    if interface is not None and interface.instance_id:
        drawn |= {"InstanceId": interface.instance_id, "InstanceOwnerId": interface.account}
    return drawn


def _draw_association(table: RouteTable, association: RouteAssociation) -> dict[str, Any]:
    return {
        "RouteTableAssociationId": association.id,
        "RouteTableId": table.id,
        "SubnetId": association.subnet_id,
        "Main": association.main,
        "AssociationState": {"State": "associated"},
    }


def _draw(context: Context, table: RouteTable) -> dict[str, Any]:
    return {
        "RouteTableId": table.id,
        "VpcId": table.vpc_id,
        "OwnerId": table.account,
        "Routes": [draw_route(context, table, route) for route in routes_of(context.view, table)],
        "Associations": [_draw_association(table, association) for association in table.associations],
        "PropagatingVgws": [],
        "Tags": tag_set(table.tags),
    }


def _routes(member: str) -> Field[RouteTable]:
    """The field of a filter on this member of the routes."""

    def field(context: Context, table: RouteTable) -> Iterable[str]:
        drawn = (draw_route(context, table, route) for route in routes_of(context.view, table))
        return [route[member] for route in drawn if member in route]

    return field


def _associations(pick: Callable[[RouteTable, RouteAssociation], str | None]) -> Field[RouteTable]:
    def field(_: Context, table: RouteTable) -> Iterable[str]:
        return [value for one in table.associations if (value := pick(table, one)) is not None]

    return field


ROUTE_TABLES = Listing(
    kind=RouteTable,
    member="RouteTables",
    draw=_draw,
    cached=False,
    ids="RouteTableIds",
    find=ROUTE_TABLE.find,
    page=Page(least=5, most=100),
    filters={
        "association.gateway-id": absent,
        "association.main": _associations(lambda _, one: str(one.main).lower()),
        "association.route-table-association-id": _associations(lambda _, one: one.id),
        "association.route-table-id": _associations(lambda table, _: table.id),
        "association.subnet-id": _associations(lambda _, one: one.subnet_id),
        "owner-id": lambda _, table: table.account,
        "route.destination-cidr-block": _routes("DestinationCidrBlock"),
        "route.destination-ipv6-cidr-block": _routes("DestinationIpv6CidrBlock"),
        "route.destination-prefix-list-id": _routes("DestinationPrefixListId"),
        "route.egress-only-internet-gateway-id": _routes("EgressOnlyInternetGatewayId"),
        "route.gateway-id": _routes("GatewayId"),
        "route.instance-id": _routes("InstanceId"),
        "route.nat-gateway-id": _routes("NatGatewayId"),
        "route.origin": _routes("Origin"),
        "route.state": _routes("State"),
        "route.transit-gateway-id": absent,
        "route.vpc-peering-connection-id": _routes("VpcPeeringConnectionId"),
        "route-table-id": lambda _, table: table.id,
        "vpc-id": lambda _, table: table.vpc_id,
    },
)


@ec2.reads("DescribeRouteTables")
def describe_route_tables(context: Context, params: "DescribeRouteTablesRequestTypeDef") -> dict[str, Any]:
    """The caller's route tables."""
    return ROUTE_TABLES.answer(context, params)


@ec2.writes("CreateRouteTable", resources=("route-table:*", "vpc:VpcId"), idempotent=True, taggable=("route-table",))
def create_route_table(context: Context, params: "CreateRouteTableRequestTypeDef") -> dict[str, Any]:
    """A table with nothing but the local routes, which holds for no subnet yet."""
    vpc = VPC.one(context, params["VpcId"])
    ROUTE_TABLES_PER_VPC.check(len(context.tx.list(RouteTable, vpc_id=vpc.id)))
    table = RouteTable(
        id=new_id("rtb"),
        account=context.account,
        region=context.region,
        vpc_id=vpc.id,
        routes=(),
        tags=tags_for(params, "route-table"),
    )
    return {"RouteTable": _draw(context, context.tx.put(table)), "ClientToken": params.get("ClientToken")}


@ec2.writes("DeleteRouteTable", resources=("route-table:RouteTableId",))
def delete_route_table(context: Context, params: "DeleteRouteTableRequestTypeDef") -> dict[str, Any]:
    """Deletes a table that holds for no subnet and is not a VPC's main one."""
    table = ROUTE_TABLE.one(context, params["RouteTableId"])
    if table.associations:
        raise DependencyViolation(f"The routeTable '{table.id}' has dependencies and cannot be deleted.")
    for endpoint in context.tx.list(VpcEndpoint, route_table_ids=table.id):
        left = tuple(name for name in endpoint.route_table_ids if name != table.id)
        context.tx.put(replace(endpoint, route_table_ids=left))
    context.tx.delete(table)
    return {}


@ec2.writes("AssociateRouteTable", resources=("route-table:RouteTableId", "subnet:SubnetId"))
def associate_route_table(context: Context, params: "AssociateRouteTableRequestTypeDef") -> dict[str, Any]:
    """Lets a table hold for a subnet, which used the main one so far."""
    table = ROUTE_TABLE.one(context, params["RouteTableId"])
    subnet_id = params.get("SubnetId")
    edge = next((name for name in ("GatewayId", "PublicIpv4Pool") if params.get(name)), None)
    if subnet_id and edge:
        raise InvalidParameterCombination(f"The parameter {_spelled(edge)} cannot be used with the parameter subnetId")
    if edge:
        raise Unsupported(
            f"The parameter {_spelled(edge)}: route tables of gateways (edge associations) are not available in this cloud."
        )
    if not subnet_id:
        raise MissingParameter("subnetId")
    subnet = SUBNET.one(context, subnet_id)
    if subnet.vpc_id != table.vpc_id:
        raise InvalidParameterValue(f"Route table {table.id} and subnet {subnet.id} belong to different networks")
    for other in context.tx.list(RouteTable, subnet_ids=subnet.id):
        known = next(one for one in other.associations if one.subnet_id == subnet.id)
        if other.id != table.id:
            raise AlreadyAssociated(
                f"the specified association for route table {table.id} conflicts with an existing association"
            )
        return {"AssociationId": known.id, "AssociationState": {"State": "associated"}}
    association = RouteAssociation(id=new_id("rtbassoc"), subnet_id=subnet.id)
    context.tx.put(replace(table, associations=(*table.associations, association)))
    return {"AssociationId": association.id, "AssociationState": {"State": "associated"}}


def _spelled(parameter: str) -> str:
    return parameter[0].lower() + parameter[1:]


def _associated(context: Context, association_id: str) -> tuple[RouteTable, RouteAssociation]:
    if not association_id.startswith("rtbassoc-"):
        raise MalformedId(
            f'Invalid id: "{association_id}" (expecting "rtbassoc-...")',
            code="InvalidRouteTableAssociationId.Malformed",
        )
    tables = context.tx.list(RouteTable, account=context.account, region=context.region, association_ids=association_id)
    for table in tables:
        return table, next(one for one in table.associations if one.id == association_id)
    raise NotFound(f"The association ID '{association_id}' does not exist", code="InvalidAssociationID.NotFound")


def _without(tx: Transaction, table: RouteTable, association: RouteAssociation) -> None:
    tx.put(replace(table, associations=tuple(one for one in table.associations if one.id != association.id)))


@ec2.writes("DisassociateRouteTable", resources=("route-table:AssociationId",))
def disassociate_route_table(context: Context, params: "DisassociateRouteTableRequestTypeDef") -> dict[str, Any]:
    """Lets a subnet use the main table again."""
    table, association = _associated(context, params["AssociationId"])
    if association.main:
        raise InvalidParameterValue(f"cannot disassociate the main route table association {association.id}")
    _without(context.tx, table, association)
    return {}


@ec2.writes("ReplaceRouteTableAssociation", resources=("route-table:RouteTableId",))
def replace_route_table_association(
    context: Context, params: "ReplaceRouteTableAssociationRequestTypeDef"
) -> dict[str, Any]:
    """Lets another table hold for a subnet, or be the VPC's main one. The association has a new id."""
    table, association = _associated(context, params["AssociationId"])
    after = ROUTE_TABLE.one(context, params["RouteTableId"])
    if after.vpc_id != table.vpc_id:
        raise InvalidParameterValue(f"Route table {after.id} and route table {table.id} belong to different networks")
    if after.id != table.id:
        _without(context.tx, table, association)
        association = replace(association, id=new_id("rtbassoc"))
        context.tx.put(replace(after, associations=(*after.associations, association)))
    return {"NewAssociationId": association.id, "AssociationState": {"State": "associated"}}
