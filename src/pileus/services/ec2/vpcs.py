"""VPCs: making, listing, changing and deleting them."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import (
    CarrierGateway,
    EgressOnlyGateway,
    InternetGateway,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    Peering,
    RouteTable,
    SecurityGroup,
    Subnet,
    Vpc,
    VpcEndpoint,
)
from pileus.records.routing import main_route_table
from pileus.records.security_group import group_name_scope
from pileus.records.vpc import Ipv6Block, ipv6_scope
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.cidr_rules import vpc_block
from pileus.services.ec2.defaults import create_network, default_dhcp_options
from pileus.services.ec2.errors import (
    DependencyViolation,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    Unsupported,
)
from pileus.services.ec2.resources import VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_ipv6 import take_block
from pileus.services.ec2.vpc_quotas import VPCS as VPC_QUOTA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from types_boto3_ec2.type_defs import (
        CreateVpcRequestTypeDef,
        DeleteVpcRequestTypeDef,
        DescribeVpcAttributeRequestTypeDef,
        DescribeVpcsRequestTypeDef,
        ModifyVpcAttributeRequestTypeDef,
        ModifyVpcTenancyRequestTypeDef,
    )

_TENANCIES = ("default", "dedicated")


class UnsupportedTenancy(ServiceError):
    """A VPC's tenancy can be changed to ``default`` only."""

    code = "UnsupportedTenancy"


def draw_ipv6_block(block: Ipv6Block, state: str) -> dict[str, Any]:
    """The association of an IPv6 block with a VPC."""
    return {
        "AssociationId": block.id,
        "Ipv6CidrBlock": block.cidr,
        "Ipv6CidrBlockState": {"State": state},
        "NetworkBorderGroup": block.border_group,
        "Ipv6Pool": block.pool,
        "Ipv6AddressAttribute": "public",
        "IpSource": "amazon",
    }


def draw_ipv4_block(association_id: str, cidr: str, state: str) -> dict[str, Any]:
    """The association of an IPv4 block with a VPC."""
    return {"AssociationId": association_id, "CidrBlock": cidr, "CidrBlockState": {"State": state}}


def draw_vpc(vpc: Vpc) -> dict[str, Any]:
    """A VPC as every answer has it."""
    return {
        "VpcId": vpc.id,
        "OwnerId": vpc.account,
        "State": "available",
        "CidrBlock": vpc.cidr,
        "CidrBlockAssociationSet": [draw_ipv4_block(id_, cidr, "associated") for id_, cidr in vpc.cidrs],
        "Ipv6CidrBlockAssociationSet": [draw_ipv6_block(block, "associated") for block in vpc.ipv6_blocks],
        "DhcpOptionsId": vpc.dhcp_options_id,
        "InstanceTenancy": vpc.tenancy,
        "IsDefault": vpc.is_default,
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": tag_set(vpc.tags),
    }


VPCS = Listing(
    kind=Vpc,
    member="Vpcs",
    draw=lambda _, vpc: draw_vpc(vpc),
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
        "dhcpOptionsId": lambda _, vpc: vpc.dhcp_options_id,
        "ipv6-cidr-block-association.association-id": lambda _, vpc: [block.id for block in vpc.ipv6_blocks],
        "ipv6-cidr-block-association.ipv6-cidr-block": lambda _, vpc: vpc.ipv6_cidrs,
        "ipv6-cidr-block-association.ipv6-pool": lambda _, vpc: [block.pool for block in vpc.ipv6_blocks],
        "ipv6-cidr-block-association.state": lambda _, vpc: ["associated" for _ in vpc.ipv6_blocks],
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


def refuse_foreign_pools(params: "Mapping[str, Any]") -> None:
    """Refuses parameters for address pools of one's own. Raises Unsupported."""
    for name in (
        "Ipv6Pool",
        "Ipv6CidrBlock",
        "Ipv4IpamPoolId",
        "Ipv4NetmaskLength",
        "Ipv6IpamPoolId",
        "Ipv6NetmaskLength",
        "VpcEncryptionControl",
    ):
        if params.get(name) is not None:
            raise Unsupported(f"The parameter {name} is not available in this cloud.")


@ec2.writes("CreateVpc", taggable=("vpc",))
def create_vpc(context: Context, params: "CreateVpcRequestTypeDef") -> dict[str, Any]:
    """Makes a VPC with its main route table, default network ACL and default security group."""
    refuse_foreign_pools(params)
    block = params.get("CidrBlock")
    if not block:
        raise MissingParameter("cidrBlock")
    tenancy = params.get("InstanceTenancy") or "default"
    if tenancy not in _TENANCIES:
        raise InvalidParameterValue(f"Value ({tenancy}) for parameter instanceTenancy is invalid.")
    cidr = vpc_block(block)
    VPC_QUOTA.check(len(context.view.list(Vpc, account=context.account, region=context.region)))
    vpc_id = new_id("vpc")
    vpc = context.tx.put(
        Vpc(
            id=vpc_id,
            account=context.account,
            region=context.region,
            tags=tags_for(params, "vpc"),
            cidrs=((new_id("vpc-cidr-assoc"), cidr),),
            ipv6_blocks=wanted_ipv6(context, params, vpc_id),
            dhcp_options_id=default_dhcp_options(context.tx, context.account, context.region).id,
            tenancy=tenancy,
        )
    )
    create_network(context.tx, vpc)
    return {"Vpc": draw_vpc(vpc)}


def wanted_ipv6(context: Context, params: "Mapping[str, Any]", vpc_id: str) -> tuple[Ipv6Block, ...]:
    """The IPv6 block that AmazonProvidedIpv6CidrBlock asks for, claimed; none where it does not."""
    border_group = params.get("Ipv6CidrBlockNetworkBorderGroup")
    if params.get("AmazonProvidedIpv6CidrBlock"):
        return (take_block(context, vpc_id, border_group),)
    if border_group:
        raise InvalidParameterCombination(
            "The parameter ipv6CidrBlockNetworkBorderGroup goes with amazonProvidedIpv6CidrBlock only."
        )
    return ()


@ec2.writes("DeleteVpc", resources=("vpc:VpcId",))
def delete_vpc(context: Context, params: "DeleteVpcRequestTypeDef") -> dict[str, Any]:
    """Deletes a VPC with its main route table, default network ACL and default security group.

    Raises DependencyViolation while anything else is in it.
    """
    tx, vpc = context.tx, VPC.one(context, params["VpcId"])
    if any(_dependencies(context, vpc)):
        raise DependencyViolation(f"The vpc '{vpc.id}' has dependencies and cannot be deleted.")
    for kind in (RouteTable, NetworkAcl, SecurityGroup):
        for record in tx.list(kind, vpc_id=vpc.id):
            tx.delete(record)
    tx.release(group_name_scope(vpc.id), "default")
    tx.release_all(vpc.id, ipv6_scope(vpc.region))
    for peering in tx.list(Peering, vpc_ids=vpc.id):
        if peering.state == "pending-acceptance":
            ended = replace(peering, state="failed", message="A VPC of the request was deleted.", ended=context.now)
            tx.put(ended)
    tx.delete(vpc)
    return {}


def _dependencies(context: Context, vpc: Vpc) -> "Iterator[object]":
    """What keeps a VPC from being deleted. A request for a peering does not: anybody may send one."""
    view = context.view
    for kind in (Subnet, NetworkInterface, InternetGateway, EgressOnlyGateway, CarrierGateway):
        yield from view.list(kind, vpc_id=vpc.id)
    yield from (nat for nat in view.list(NatGateway, vpc_id=vpc.id) if nat.state not in {"deleted", "failed"})
    yield from (endpoint for endpoint in view.list(VpcEndpoint, vpc_id=vpc.id) if endpoint.state != "deleted")
    yield from (peering for peering in view.list(Peering, vpc_ids=vpc.id) if peering.state == "active")
    yield from (acl for acl in view.list(NetworkAcl, vpc_id=vpc.id) if not acl.is_default)
    yield from (group for group in view.list(SecurityGroup, vpc_id=vpc.id) if group.name != "default")
    main = main_route_table(view, vpc.id)
    yield from (table for table in view.list(RouteTable, vpc_id=vpc.id) if table.id != main.id)


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


@ec2.writes("ModifyVpcAttribute", resources=("vpc:VpcId",))
def modify_vpc_attribute(context: Context, params: "ModifyVpcAttributeRequestTypeDef") -> dict[str, Any]:
    """Changes one attribute of a VPC. Host names can be enabled only where DNS is."""
    vpc = VPC.one(context, params["VpcId"])
    fields = {
        "EnableDnsHostnames": "dns_hostnames",
        "EnableDnsSupport": "dns_support",
        "EnableNetworkAddressUsageMetrics": "network_address_usage_metrics",
    }
    given = [name for name in fields if params.get(name) is not None]
    if not given:
        raise MissingParameter("enableDnsHostnames, enableDnsSupport or enableNetworkAddressUsageMetrics")
    if len(given) > 1:
        raise InvalidParameterCombination("Fields for multiple attribute types specified. Only one can be modified.")
    value = _boolean(params, given[0])
    if given[0] == "EnableDnsHostnames" and value and not vpc.dns_support:
        raise InvalidParameterCombination("DNS hostnames can only be enabled for a VPC with DNS support enabled.")
    context.tx.put(replace(vpc, **{fields[given[0]]: value}))
    return {}


def _boolean(params: "Mapping[str, Any]", name: str) -> bool:
    value = params[name].get("Value")
    if value is None:
        raise MissingParameter(f"{name}.Value")
    return bool(value)


@ec2.writes("ModifyVpcTenancy", resources=("vpc:VpcId",))
def modify_vpc_tenancy(context: Context, params: "ModifyVpcTenancyRequestTypeDef") -> dict[str, Any]:
    """Lets instances that are launched in a dedicated VPC from now on share hosts."""
    vpc = VPC.one(context, params["VpcId"])
    if params["InstanceTenancy"] != "default":
        raise UnsupportedTenancy("The tenancy of a VPC can be changed to 'default' only.")
    context.tx.put(replace(vpc, tenancy="default"))
    return {"ReturnValue": True}
