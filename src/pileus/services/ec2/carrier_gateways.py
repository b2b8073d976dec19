"""Carrier gateways: the way of a VPC's subnets in wavelength zones to the carrier's network."""

from typing import TYPE_CHECKING, Any

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import CarrierGateway, NetworkInterface
from pileus.services.ec2.errors import DependencyViolation, UnsupportedOperation
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.resources import CARRIER_GATEWAY, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import CARRIER_GATEWAYS_PER_VPC

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateCarrierGatewayRequestTypeDef,
        DeleteCarrierGatewayRequestTypeDef,
        DescribeCarrierGatewaysRequestTypeDef,
    )


def _draw(gateway: CarrierGateway, state: str) -> dict[str, Any]:
    return {
        "CarrierGatewayId": gateway.id,
        "VpcId": gateway.vpc_id,
        "OwnerId": gateway.account,
        "State": state,
        "Tags": tag_set(gateway.tags),
    }


CARRIER_GATEWAYS = Listing(
    kind=CarrierGateway,
    member="CarrierGateways",
    draw=lambda _, gateway: _draw(gateway, "available"),
    ids="CarrierGatewayIds",
    find=CARRIER_GATEWAY.find,
    exclusive=True,
    filters={
        "carrier-gateway-id": lambda _, gateway: gateway.id,
        "owner-id": lambda _, gateway: gateway.account,
        "state": constant("available"),
        "vpc-id": lambda _, gateway: gateway.vpc_id,
    },
)


@ec2.reads("DescribeCarrierGateways")
def describe_carrier_gateways(context: Context, params: "DescribeCarrierGatewaysRequestTypeDef") -> dict[str, Any]:
    """The caller's carrier gateways."""
    return CARRIER_GATEWAYS.answer(context, params)


@ec2.writes("CreateCarrierGateway", resources=("vpc:VpcId",), idempotent=True, taggable=("carrier-gateway",))
def create_carrier_gateway(context: Context, params: "CreateCarrierGatewayRequestTypeDef") -> dict[str, Any]:
    """Gives a VPC its carrier gateway, where the caller has opted in to a wavelength zone of the region."""
    vpc = VPC.one(context, params["VpcId"])
    if not any(zone.type == "wavelength-zone" for zone in configured_zones(context)):
        raise UnsupportedOperation("You are not opted in to a Wavelength Zone of this region.")
    CARRIER_GATEWAYS_PER_VPC.check(len(context.view.list(CarrierGateway, vpc_id=vpc.id)))
    gateway = context.tx.put(
        CarrierGateway(
            id=new_id("cagw"),
            account=context.account,
            region=context.region,
            tags=tags_for(params, "carrier-gateway"),
            vpc_id=vpc.id,
        )
    )
    return {"CarrierGateway": _draw(gateway, "pending")}


@ec2.writes("DeleteCarrierGateway", resources=("carrier-gateway:CarrierGatewayId",))
def delete_carrier_gateway(context: Context, params: "DeleteCarrierGatewayRequestTypeDef") -> dict[str, Any]:
    """Deletes a carrier gateway behind which nothing has a carrier address. Routes to it become black holes."""
    gateway = CARRIER_GATEWAY.one(context, params["CarrierGatewayId"])
    for interface in context.view.list(NetworkInterface, vpc_id=gateway.vpc_id):
        if any(address.carrier and address.public for address in interface.addresses):
            raise DependencyViolation(f"The carrier gateway '{gateway.id}' has mapped carrier addresses.")
    context.tx.delete(gateway)
    return {"CarrierGateway": _draw(gateway, "deleting")}
