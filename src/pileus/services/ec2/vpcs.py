"""VPCs."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Vpc
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.resources import VPC
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeVpcAttributeRequestTypeDef, DescribeVpcsRequestTypeDef


def _draw(_: Context, vpc: Vpc) -> dict[str, Any]:
    return {
        "VpcId": vpc.id,
        "OwnerId": vpc.account,
        "State": "available",
        "CidrBlock": vpc.cidr,
        "CidrBlockAssociationSet": [
            {"AssociationId": id_, "CidrBlock": cidr, "CidrBlockState": {"State": "associated"}}
            for id_, cidr in vpc.cidrs
        ],
        "DhcpOptionsId": vpc.dhcp_options_id,
        "InstanceTenancy": vpc.tenancy,
        "IsDefault": vpc.is_default,
        "Tags": tag_set(vpc.tags),
    }


VPCS = Listing(
    kind=Vpc,
    member="Vpcs",
    draw=_draw,
    ids="VpcIds",
    find=VPC.find,
    filters={
        "cidr": lambda _, vpc: vpc.cidr,
        "cidr-block": lambda _, vpc: vpc.cidr,
        "cidrBlock": lambda _, vpc: vpc.cidr,
        "cidr-block-association.association-id": lambda _, vpc: [id_ for id_, _ in vpc.cidrs],
        "cidr-block-association.cidr-block": lambda _, vpc: [cidr for _, cidr in vpc.cidrs],
        "cidr-block-association.state": lambda _, vpc: ["associated" for _ in vpc.cidrs],
        "dhcp-options-id": lambda _, vpc: vpc.dhcp_options_id,
        "ipv6-cidr-block-association.association-id": absent,
        "ipv6-cidr-block-association.ipv6-cidr-block": absent,
        "ipv6-cidr-block-association.ipv6-pool": absent,
        "ipv6-cidr-block-association.state": absent,
        "is-default": lambda _, vpc: vpc.is_default,
        "isDefault": lambda _, vpc: vpc.is_default,
        "owner-id": lambda _, vpc: vpc.account,
        "state": constant("available"),
        "vpc-id": lambda _, vpc: vpc.id,
    },
)


@ec2.reads("DescribeVpcs")
def describe_vpcs(context: Context, params: "DescribeVpcsRequestTypeDef") -> dict[str, Any]:
    """The caller's VPCs."""
    return VPCS.answer(context, params)


@ec2.reads("DescribeVpcAttribute", resources=("vpc:VpcId",))
def describe_vpc_attribute(context: Context, params: "DescribeVpcAttributeRequestTypeDef") -> dict[str, Any]:
    """One attribute of a VPC."""
    vpc = VPC.one(context, params["VpcId"])
    values = {
        "enableDnsSupport": ("EnableDnsSupport", vpc.dns_support),
        "enableDnsHostnames": ("EnableDnsHostnames", vpc.dns_hostnames),
        "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", vpc.network_address_usage_metrics),
    }
    member, value = attribute(values, params["Attribute"])
    return {"VpcId": vpc.id, member: {"Value": value}}
