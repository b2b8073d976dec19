"""Where routes may lead: the targets that CreateRoute and ReplaceRoute name, and what each of them has to fulfil."""

from collections.abc import Callable, Mapping
from typing import Any

from pileus.operations.context import Context
from pileus.records import (
    CarrierGateway,
    EgressOnlyGateway,
    InternetGateway,
    NatGateway,
    NetworkInterface,
    Peering,
    RouteTable,
)
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.network_interfaces import only_interface
from pileus.services.ec2.resources import INSTANCE, NETWORK_INTERFACE

_ABSENT = ("TransitGatewayId", "LocalGatewayId", "CoreNetworkArn", "OdbNetworkArn")
"""Targets that this cloud has nothing of."""


def target_of(context: Context, table: RouteTable, params: Mapping[str, Any]) -> str:
    """The id of the target that a call names.

    Raises:
        MissingParameter: it names none. InvalidParameterCombination: it names several.
        NotFound: it is not there. InvalidParameterValue: it is another VPC's, or nothing that routes may lead to.
        Unsupported: it is of a kind that this cloud does not have.
    """
    given = [name for name in (*_FINDERS, *_ABSENT) if params.get(name)]
    if not given:
        raise MissingParameter(f"exactly one of {', '.join(_spelled(name) for name in _FINDERS)}")
    first, *others = given
    if others:
        raise InvalidParameterCombination(
            f"The parameter {_spelled(first)} cannot be used with the parameter {_spelled(others[0])}"
        )
    if first in _ABSENT:
        raise Unsupported(f"The parameter {_spelled(first)}: there is nothing of this kind in this cloud.")
    return _FINDERS[first](context, table, params[first])


def _spelled(parameter: str) -> str:
    return parameter[0].lower() + parameter[1:]


def _apart(table: RouteTable, what: str, id_: str) -> InvalidParameterValue:
    return InvalidParameterValue(f"route table {table.id} and {what} {id_} belong to different networks")


def _gateway(context: Context, table: RouteTable, id_: str) -> str:
    if id_.startswith("vpce-"):
        raise InvalidParameterValue(
            f"Value ({id_}) for parameter gatewayId is invalid. "
            "Cannot create or replace a prefix list route targeting a VPC Endpoint."
        )
    if id_ == "local":
        raise InvalidParameterValue(
            "Value (local) for parameter gatewayId is invalid. Local routes are there by themselves."
        )
    gateway = context.view.get(InternetGateway, id_)
    if gateway is None or gateway.account != context.account or gateway.region != context.region:
        raise NotFound(f"The gateway ID '{id_}' does not exist", code="InvalidGatewayID.NotFound")
    if gateway.vpc_id != table.vpc_id:
        raise _apart(table, "network gateway", id_)
    return id_


def _egress_only(context: Context, table: RouteTable, id_: str) -> str:
    gateway = context.view.get(EgressOnlyGateway, id_)
    if gateway is None or gateway.account != context.account or gateway.region != context.region:
        raise NotFound(f"The eigw ID '{id_}' does not exist", code="InvalidGatewayID.NotFound")
    if gateway.vpc_id != table.vpc_id:
        raise _apart(table, "egress-only internet gateway", id_)
    return id_


def _carrier(context: Context, table: RouteTable, id_: str) -> str:
    gateway = context.view.get(CarrierGateway, id_)
    if gateway is None or gateway.account != context.account or gateway.region != context.region:
        raise NotFound(f"The carrier gateway ID '{id_}' does not exist", code="InvalidCarrierGatewayID.NotFound")
    if gateway.vpc_id != table.vpc_id:
        raise _apart(table, "carrier gateway", id_)
    return id_


def _nat(context: Context, table: RouteTable, id_: str) -> str:
    nat = context.view.get(NatGateway, id_)
    known = nat is not None and nat.account == context.account and nat.region == context.region
    if nat is None or not known or nat.state in {"deleting", "deleted", "failed"}:
        raise NotFound(f"The natGateway ID '{id_}' does not exist", code="InvalidNatGatewayID.NotFound")
    if nat.vpc_id != table.vpc_id:
        raise _apart(table, "NAT gateway", id_)
    return id_


def _interface(context: Context, table: RouteTable, id_: str) -> str:
    return _own(table, NETWORK_INTERFACE.one(context, id_))


def _instance(context: Context, table: RouteTable, id_: str) -> str:
    return _own(table, only_interface(context, INSTANCE.one(context, id_)))


def _own(table: RouteTable, interface: NetworkInterface) -> str:
    if interface.vpc_id != table.vpc_id:
        raise _apart(table, "interface", interface.id)
    return interface.id


def _peering(context: Context, table: RouteTable, id_: str) -> str:
    peering = context.view.get(Peering, id_)
    sides = (peering.requester, peering.accepter) if peering is not None else ()
    mine = [side for side in sides if (side.account, side.region) == (context.account, context.region)]
    if peering is None or not mine or peering.state not in {"pending-acceptance", "active"}:
        raise NotFound(
            f"The vpcPeeringConnection ID '{id_}' does not exist", code="InvalidVpcPeeringConnectionID.NotFound"
        )
    if table.vpc_id not in {side.vpc_id for side in mine}:
        raise _apart(table, "peering connection", id_)
    return id_


def _endpoint(_context: Context, _table: RouteTable, id_: str) -> str:
    raise InvalidParameterValue(
        f"Route table contains unsupported route target: {id_}. "
        "VPC Endpoints of this type cannot be used as route targets.",
        code="RouteNotSupported",
    )


_FINDERS: Mapping[str, Callable[[Context, RouteTable, str], str]] = {
    "GatewayId": _gateway,
    "EgressOnlyInternetGatewayId": _egress_only,
    "InstanceId": _instance,
    "NatGatewayId": _nat,
    "NetworkInterfaceId": _interface,
    "VpcPeeringConnectionId": _peering,
    "CarrierGatewayId": _carrier,
    "VpcEndpointId": _endpoint,
}
