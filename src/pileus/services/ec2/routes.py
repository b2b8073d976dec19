"""The routes of route tables: CreateRoute, ReplaceRoute and DeleteRoute."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import RouteTable, Subnet, Vpc
from pileus.records.route_table import Route
from pileus.records.routing import LOCAL, local_cidrs, routes_of
from pileus.services.ec2.cidr_rules import parse_ipv4, parse_ipv6
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.prefix_lists import usable_prefix_list
from pileus.services.ec2.prefix_lists_weights import destination_family, route_weights, weight
from pileus.services.ec2.resources import ROUTE_TABLE
from pileus.services.ec2.route_tables import destination_member
from pileus.services.ec2.route_targets import target_of
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ROUTES_PER_TABLE

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateRouteRequestTypeDef,
        DeleteRouteRequestTypeDef,
        ReplaceRouteRequestTypeDef,
    )

_Network = IPv4Network | IPv6Network
_RESERVED = (IPv4Network("169.254.168.0/22"), IPv6Network("fd00:ec2::/32"))
"""Where AWS allows no routes: its own services' addresses."""

_INSIDE = frozenset({"eni", "nat"})
"""What a route inside of the VPC may lead to, besides ``local``: prefixes of ids."""


class RouteAlreadyExists(ServiceError):
    """The table has a route of this destination."""

    code = "RouteAlreadyExists"


def _destination(context: Context, params: Mapping[str, Any]) -> str:
    """The destination that a call names, canonical: host bits are cleared, as EC2 does.

    Raises MissingParameter, InvalidParameterCombination, InvalidParameterValue; NotFound for a prefix list.
    """
    given = [
        name
        for name in ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
        if params.get(name)
    ]
    if not given:
        raise MissingParameter("exactly one of destinationCidrBlock, destinationIpv6CidrBlock, destinationPrefixListId")
    first, *others = given
    if others:
        raise InvalidParameterCombination(
            f"The parameter {_spelled(first)} cannot be used with the parameter {_spelled(others[0])}"
        )
    text = str(params[first])
    if first == "DestinationPrefixListId":
        return usable_prefix_list(context, text).id
    parse = parse_ipv6 if first == "DestinationIpv6CidrBlock" else parse_ipv4
    return str(parse(text, _spelled(first)))


def _spelled(parameter: str) -> str:
    return parameter[0].lower() + parameter[1:]


def _within(network: _Network, others: Iterable[_Network]) -> bool:
    return any(one.version == network.version and network.subnet_of(one) for one in others)  # pyright: ignore[reportArgumentType] - of one version


def _check(context: Context, table: RouteTable, destination: str, target: str) -> None:
    """Raises InvalidParameterValue where a route may not lead from this destination to this target."""
    if destination.startswith("pl-"):
        return
    network = ip_network(destination)
    if _within(network, _RESERVED):
        raise InvalidParameterValue(
            f"Value ({destination}) for parameter {_spelled(destination_member(destination))} is invalid. "
            "The block is reserved."
        )
    if network.version == 4 and target.startswith("eigw-"):
        raise InvalidParameterValue(
            f"Value ({destination}) for parameter destinationCidrBlock is invalid. "
            "Only IPv6 traffic can be routed to an egress-only internet gateway."
        )
    vpc = context.view.get(Vpc, table.vpc_id)
    assert vpc is not None, f"{table.id} is of a VPC that is gone"
    local = [ip_network(cidr) for cidr in local_cidrs(vpc)]
    if not _within(network, local):
        return
    if target.partition("-")[0] not in _INSIDE:
        raise InvalidParameterValue(
            f"The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR blocks. "
            "This route can target only an interface or an instance."
        )
    if network not in local and destination not in _subnets(context, vpc):
        raise InvalidParameterValue(
            f"The destination CIDR block {destination} is more specific than one of this VPC's CIDR blocks. "
            "Route destination doesn't match any subnet CIDR blocks."
        )


def _subnets(context: Context, vpc: Vpc) -> set[str]:
    subnets = context.view.list(Subnet, vpc_id=vpc.id)
    return {subnet.cidr for subnet in subnets} | {one.ipv6_block.cidr for one in subnets if one.ipv6_block}


def _known(context: Context, table: RouteTable, destination: str) -> Route | None:
    return next((route for route in routes_of(context.view, table) if route.destination == destination), None)


@ec2.writes("CreateRoute", resources=("route-table:RouteTableId",))
def create_route(context: Context, params: "CreateRouteRequestTypeDef") -> dict[str, Any]:
    """A further route. Of those that match a packet, the most specific one holds."""
    table = ROUTE_TABLE.one(context, params["RouteTableId"])
    destination = _destination(context, params)
    if _known(context, table, destination) is not None:
        raise RouteAlreadyExists(f"The route identified by {destination} already exists.")
    target = target_of(context, table, params)
    _check(context, table, destination, target)
    family = destination_family(context, destination)
    ROUTES_PER_TABLE.check(route_weights(context, table, family), weight(context, destination))
    context.tx.put(replace(table, routes=(*table.routes, Route(destination=destination, target=target))))
    return {"Return": True}


@ec2.writes("ReplaceRoute", resources=("route-table:RouteTableId",))
def replace_route(context: Context, params: "ReplaceRouteRequestTypeDef") -> dict[str, Any]:
    """Lets a route lead elsewhere. A local one may lead to an interface or a NAT gateway, and back."""
    table = ROUTE_TABLE.one(context, params["RouteTableId"])
    destination = _destination(context, params)
    known = _known(context, table, destination)
    if known is None:
        raise InvalidParameterValue(
            f"There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
        )
    _check_own(table, known)
    if params.get("LocalTarget") or params.get("GatewayId") == LOCAL:
        target = _local(context, table, destination, params)
    else:
        target = target_of(context, table, params)
        _check(context, table, destination, target)
    others = tuple(route for route in table.routes if route.destination != destination and route.target != LOCAL)
    changed = () if target == LOCAL else (replace(known, target=target),)
    context.tx.put(replace(table, routes=(*others, *changed)))
    return {}


def _local(context: Context, table: RouteTable, destination: str, params: Mapping[str, Any]) -> str:
    if params.get("LocalTarget") and params.get("GatewayId"):
        raise InvalidParameterCombination("The parameter localTarget cannot be used with the parameter gatewayId")
    vpc = context.view.get(Vpc, table.vpc_id)
    if vpc is None or destination not in local_cidrs(vpc):
        raise InvalidParameterValue(
            f"Value ({destination}) for parameter {_spelled(destination_member(destination))} is invalid. "
            "Only the route of a CIDR block of the VPC can be reset to its local target."
        )
    return LOCAL


def _check_own(table: RouteTable, route: Route) -> None:
    """Raises InvalidParameterValue for the route of a gateway endpoint: ModifyVpcEndpoint adds and removes those."""
    if route.target.startswith("vpce-"):
        raise InvalidParameterValue(
            f"cannot remove or replace VPC endpoint route {route.target} in route table {table.id}"
        )


@ec2.writes("DeleteRoute", resources=("route-table:RouteTableId",))
def delete_route(context: Context, params: "DeleteRouteRequestTypeDef") -> dict[str, Any]:
    """Removes a route; those of the VPC's own CIDRs stay."""
    table = ROUTE_TABLE.one(context, params["RouteTableId"])
    destination = _destination(context, params)
    known = _known(context, table, destination)
    if known is None:
        raise NotFound(
            f"no route with destination-{_kind(destination)} {destination} in route table {table.id}",
            code="InvalidRoute.NotFound",
        )
    vpc = context.view.get(Vpc, table.vpc_id)
    if known.target == LOCAL or (vpc is not None and destination in local_cidrs(vpc)):
        raise InvalidParameterValue(f"cannot remove local route {destination} in route table {table.id}")
    _check_own(table, known)
    context.tx.put(replace(table, routes=tuple(one for one in table.routes if one.destination != destination)))
    return {}


def _kind(destination: str) -> str:
    if destination.startswith("pl-"):
        return "prefix-list-id"
    return "ipv6-cidr-block" if ":" in destination else "cidr-block"
