"""Internet gateways."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import InternetGateway
from pileus.services.ec2.resources import INTERNET_GATEWAY
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeInternetGatewaysRequestTypeDef


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
