"""What no VPC here has, and clients ask for nevertheless: links to EC2-Classic, and a block on public access."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Vpc
from pileus.services.ec2.errors import NotFound
from pileus.services.ec2.resources import VPC
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeVpcBlockPublicAccessExclusionsRequestTypeDef,
        DescribeVpcBlockPublicAccessOptionsRequestTypeDef,
        DescribeVpcClassicLinkDnsSupportRequestTypeDef,
        DescribeVpcClassicLinkRequestTypeDef,
    )

_LINKS = Listing(
    kind=Vpc,
    member="Vpcs",
    draw=lambda _, vpc: {"VpcId": vpc.id, "ClassicLinkEnabled": False, "Tags": tag_set(vpc.tags)},
    cached=False,
    ids="VpcIds",
    find=VPC.find,
    page=None,
    filters={"is-classic-link-enabled": constant(False)},
)
_DNS_SUPPORT = Listing(
    kind=Vpc,
    member="Vpcs",
    draw=lambda _, vpc: {"VpcId": vpc.id, "ClassicLinkDnsSupported": False},
    cached=False,
    ids="VpcIds",
    find=VPC.find,
    filters={},
)


@ec2.reads("DescribeVpcClassicLink")
def describe_vpc_classic_link(context: Context, params: "DescribeVpcClassicLinkRequestTypeDef") -> dict[str, Any]:
    """The caller's VPCs: none is linked."""
    return _LINKS.answer(context, params)


@ec2.reads("DescribeVpcClassicLinkDnsSupport")
def describe_vpc_classic_link_dns_support(
    context: Context, params: "DescribeVpcClassicLinkDnsSupportRequestTypeDef"
) -> dict[str, Any]:
    """The same of names."""
    return _DNS_SUPPORT.answer(context, params)


@ec2.reads("DescribeVpcBlockPublicAccessOptions")
def describe_vpc_block_public_access_options(
    context: Context, _: "DescribeVpcBlockPublicAccessOptionsRequestTypeDef"
) -> dict[str, Any]:
    """Nothing is blocked."""
    return {
        "VpcBlockPublicAccessOptions": {
            "AwsAccountId": context.account,
            "AwsRegion": context.region,
            "State": "default-state",
            "InternetGatewayBlockMode": "off",
            "ManagedBy": "account",
            "ExclusionsAllowed": "allowed",
        }
    }


_NO_EXCLUSIONS = Listing(
    kind=Vpc,
    member="VpcBlockPublicAccessExclusions",
    draw=lambda _, __: {},
    cached=False,
    rows=lambda _: (),
    filters=dict.fromkeys(("internet-gateway-exclusion-mode", "resource-arn", "state"), absent),
)


@ec2.reads("DescribeVpcBlockPublicAccessExclusions")
def describe_vpc_block_public_access_exclusions(
    context: Context, params: "DescribeVpcBlockPublicAccessExclusionsRequestTypeDef"
) -> dict[str, Any]:
    """None: they can't be made here."""
    for id_ in params.get("ExclusionIds", ()):
        raise NotFound(
            f"The VPC Block Public Access exclusion ID '{id_}' does not exist",
            code="InvalidVpcBlockPublicAccessExclusionId.NotFound",
        )
    return _NO_EXCLUSIONS.answer(context, params)
