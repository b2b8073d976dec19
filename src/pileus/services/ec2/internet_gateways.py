"""Internet gateways."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import InternetGateway, NetworkInterface
from pileus.services.ec2.errors import DependencyViolation, InvalidParameterValue
from pileus.services.ec2.resources import INTERNET_GATEWAY, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import INTERNET_GATEWAYS as QUOTA

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AttachInternetGatewayRequestTypeDef,
        CreateInternetGatewayRequestTypeDef,
        DeleteInternetGatewayRequestTypeDef,
        DescribeInternetGatewaysRequestTypeDef,
        DetachInternetGatewayRequestTypeDef,
    )


class AlreadyAttached(ServiceError):
    """The gateway is a VPC's."""

    code = "Resource.AlreadyAssociated"


class NotAttached(ServiceError):
    """The gateway is not that VPC's."""

    code = "Gateway.NotAttached"


def _draw(_: Context, gateway: InternetGateway) -> dict[str, Any]:
    return {
        "InternetGatewayId": gateway.id,
        "OwnerId": gateway.account,
        "Attachments": [{"State": "available", "VpcId": gateway.vpc_id}] if gateway.vpc_id else [],
        "Tags": tag_set(gateway.tags),
    }


INTERNET_GATEWAYS = Listing(
    kind=InternetGateway,
    member="InternetGateways",
    draw=_draw,
    ids="InternetGatewayIds",
    find=INTERNET_GATEWAY.find,
    filters={
        "attachment.state": lambda _, gateway: "available" if gateway.vpc_id else None,
        "attachment.vpc-id": lambda _, gateway: gateway.vpc_id,
        "internet-gateway-id": lambda _, gateway: gateway.id,
        "owner-id": lambda _, gateway: gateway.account,
    },
)


@ec2.reads("DescribeInternetGateways")
def describe_internet_gateways(context: Context, params: "DescribeInternetGatewaysRequestTypeDef") -> dict[str, Any]:
    """The caller's internet gateways."""
    return INTERNET_GATEWAYS.answer(context, params)


@ec2.writes("CreateInternetGateway", resources=("internet-gateway:*",), taggable=("internet-gateway",))
def create_internet_gateway(context: Context, params: "CreateInternetGatewayRequestTypeDef") -> dict[str, Any]:
    """A gateway that is no VPC's yet."""
    QUOTA.check(len(context.tx.list(InternetGateway, account=context.account, region=context.region)))
    gateway = InternetGateway(
        id=new_id("igw"),
        account=context.account,
        region=context.region,
        tags=tags_for(params, "internet-gateway"),
    )
    return {"InternetGateway": _draw(context, context.tx.put(gateway))}


@ec2.writes("DeleteInternetGateway", resources=("internet-gateway:InternetGatewayId",))
def delete_internet_gateway(context: Context, params: "DeleteInternetGatewayRequestTypeDef") -> dict[str, Any]:
    """Deletes a gateway that no VPC has. Routes that lead to it become black holes."""
    gateway = INTERNET_GATEWAY.one(context, params["InternetGatewayId"])
    if gateway.vpc_id:
        raise DependencyViolation(f"The internetGateway '{gateway.id}' has dependencies and cannot be deleted.")
    context.tx.delete(gateway)
    return {}


@ec2.writes("AttachInternetGateway", resources=("internet-gateway:InternetGatewayId", "vpc:VpcId"))
def attach_internet_gateway(context: Context, params: "AttachInternetGatewayRequestTypeDef") -> dict[str, Any]:
    """Gives a VPC its gateway: it has one at most, and a gateway one VPC."""
    gateway = INTERNET_GATEWAY.one(context, params["InternetGatewayId"])
    vpc = VPC.one(context, params["VpcId"])
    if gateway.vpc_id:
        raise AlreadyAttached(f"resource {gateway.id} is already attached to network {gateway.vpc_id}")
    if context.tx.list(InternetGateway, vpc_id=vpc.id):
        raise InvalidParameterValue(f"Network {vpc.id} already has an internet gateway attached")
    context.tx.put(replace(gateway, vpc_id=vpc.id))
    return {}


@ec2.writes("DetachInternetGateway", resources=("internet-gateway:InternetGatewayId", "vpc:VpcId"))
def detach_internet_gateway(context: Context, params: "DetachInternetGatewayRequestTypeDef") -> dict[str, Any]:
    """Takes a VPC's gateway, unless one of its interfaces has a public address."""
    gateway = INTERNET_GATEWAY.one(context, params["InternetGatewayId"])
    vpc = VPC.one(context, params["VpcId"])
    if gateway.vpc_id != vpc.id:
        raise NotAttached(f"resource {gateway.id} is not attached to network {vpc.id}")
    interfaces = context.tx.list(NetworkInterface, vpc_id=vpc.id)
    if any(one.public and not one.carrier for interface in interfaces for one in interface.addresses):
        raise DependencyViolation(
            f"Network {vpc.id} has some mapped public address(es). "
            "Please unmap those public address(es) before detaching the gateway."
        )
    context.tx.put(replace(gateway, vpc_id=None))
    return {}
