"""Egress-only internet gateways: IPv6 out of a VPC, and only answers in."""

from typing import TYPE_CHECKING, Any

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set, tags_for
from pileus.records import EgressOnlyGateway
from pileus.services.ec2.resources import EGRESS_ONLY_GATEWAY, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import EGRESS_ONLY_GATEWAYS as QUOTA

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateEgressOnlyInternetGatewayRequestTypeDef,
        DeleteEgressOnlyInternetGatewayRequestTypeDef,
        DescribeEgressOnlyInternetGatewaysRequestTypeDef,
    )


def _draw(_: Context, gateway: EgressOnlyGateway) -> dict[str, Any]:
    return {
        "EgressOnlyInternetGatewayId": gateway.id,
        "Attachments": [{"State": "attached", "VpcId": gateway.vpc_id}],
        "Tags": tag_set(gateway.tags),
    }


EGRESS_ONLY_GATEWAYS = Listing(
    kind=EgressOnlyGateway,
    member="EgressOnlyInternetGateways",
    draw=_draw,
    ids="EgressOnlyInternetGatewayIds",
    find=EGRESS_ONLY_GATEWAY.find,
    page=Page(least=5, most=255),
    filters={},
)


@ec2.reads("DescribeEgressOnlyInternetGateways")
def describe_egress_only_gateways(
    context: Context, params: "DescribeEgressOnlyInternetGatewaysRequestTypeDef"
) -> dict[str, Any]:
    """The caller's egress-only internet gateways."""
    return EGRESS_ONLY_GATEWAYS.answer(context, params)


@ec2.writes(
    "CreateEgressOnlyInternetGateway",
    resources=("egress-only-internet-gateway:*", "vpc:VpcId"),
    idempotent=True,
    taggable=("egress-only-internet-gateway",),
)
def create_egress_only_gateway(
    context: Context, params: "CreateEgressOnlyInternetGatewayRequestTypeDef"
) -> dict[str, Any]:
    """A gateway of a VPC, which stays with it until it is deleted."""
    vpc = VPC.one(context, params["VpcId"])
    QUOTA.check(len(context.tx.list(EgressOnlyGateway, account=context.account, region=context.region)))
    gateway = EgressOnlyGateway(
        id=new_id("eigw"),
        account=context.account,
        region=context.region,
        vpc_id=vpc.id,
        tags=tags_for(params, "egress-only-internet-gateway"),
    )
    drawn = _draw(context, context.tx.put(gateway))
    return {"EgressOnlyInternetGateway": drawn, "ClientToken": params.get("ClientToken")}


@ec2.writes("DeleteEgressOnlyInternetGateway", resources=("egress-only-internet-gateway:EgressOnlyInternetGatewayId",))
def delete_egress_only_gateway(
    context: Context, params: "DeleteEgressOnlyInternetGatewayRequestTypeDef"
) -> dict[str, Any]:
    """Deletes a gateway. Routes that lead to it become black holes."""
    context.tx.delete(EGRESS_ONLY_GATEWAY.one(context, params["EgressOnlyInternetGatewayId"]))
    return {"ReturnCode": True}
