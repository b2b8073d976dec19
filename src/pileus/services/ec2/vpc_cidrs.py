"""Secondary IPv4 blocks and IPv6 blocks of VPCs."""

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import PrefixList, RouteTable, Subnet, Vpc
from pileus.records.vpc import ipv6_scope
from pileus.services.ec2.cidr_rules import secondary_block
from pileus.services.ec2.errors import (
    DependencyViolation,
    InvalidParameterCombination,
    MissingParameter,
    NotFound,
    OperationNotPermitted,
)
from pileus.services.ec2.resources import VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_ipv6 import holds_ipv6, open_to_ipv6
from pileus.services.ec2.vpc_quotas import IPV4_BLOCKS_PER_VPC, IPV6_BLOCKS_PER_VPC
from pileus.services.ec2.vpcs import draw_ipv4_block, draw_ipv6_block, refuse_foreign_pools, wanted_ipv6

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import AssociateVpcCidrBlockRequestTypeDef, DisassociateVpcCidrBlockRequestTypeDef


@ec2.writes("AssociateVpcCidrBlock", resources=("vpc:VpcId",))
def associate_vpc_cidr_block(context: Context, params: "AssociateVpcCidrBlockRequestTypeDef") -> dict[str, Any]:
    """Gives a VPC a further IPv4 block, or an IPv6 block of the cloud's."""
    refuse_foreign_pools(params)
    vpc = VPC.one(context, params["VpcId"])
    cidr, ipv6 = params.get("CidrBlock"), params.get("AmazonProvidedIpv6CidrBlock")
    if cidr and ipv6:
        raise InvalidParameterCombination(
            "Only one of cidrBlock and amazonProvidedIpv6CidrBlock can be specified in a call."
        )
    if ipv6:
        return _add_ipv6(context, vpc, params)
    if not cidr:
        raise MissingParameter("cidrBlock or amazonProvidedIpv6CidrBlock")
    canonical = secondary_block(cidr, [one for _, one in vpc.cidrs], _routed(context, vpc))
    IPV4_BLOCKS_PER_VPC.check(len(vpc.cidrs))
    association_id = new_id("vpc-cidr-assoc")
    context.tx.put(replace(vpc, cidrs=(*vpc.cidrs, (association_id, canonical))))
    return {"VpcId": vpc.id, "CidrBlockAssociation": draw_ipv4_block(association_id, canonical, "associating")}


def _routed(context: Context, vpc: Vpc) -> Iterator[str]:
    """The IPv4 destinations of routes in the VPC that are not local."""
    for table in context.view.list(RouteTable, vpc_id=vpc.id):
        for route in table.routes:
            if route.target == "local" or ":" in route.destination:
                continue
            if not route.destination.startswith("pl-"):
                yield route.destination
            elif (listed := context.view.get(PrefixList, route.destination)) is not None:
                yield from (cidr for cidr in listed.cidrs if ":" not in cidr)


def _add_ipv6(context: Context, vpc: Vpc, params: "AssociateVpcCidrBlockRequestTypeDef") -> dict[str, Any]:
    IPV6_BLOCKS_PER_VPC.check(len(vpc.ipv6_blocks))
    (block,) = wanted_ipv6(context, params, vpc.id)
    after = context.tx.put(replace(vpc, ipv6_blocks=(*vpc.ipv6_blocks, block)))
    open_to_ipv6(context.tx, after)
    return {"VpcId": vpc.id, "Ipv6CidrBlockAssociation": draw_ipv6_block(block, "associating")}


@ec2.writes("DisassociateVpcCidrBlock")
def disassociate_vpc_cidr_block(context: Context, params: "DisassociateVpcCidrBlockRequestTypeDef") -> dict[str, Any]:
    """Takes a block from a VPC, unless it is the primary one or a subnet is in it."""
    association_id = params["AssociationId"]
    for vpc in context.view.list(Vpc, account=context.account, region=context.region):
        if association_id in dict(vpc.cidrs):
            return _remove_ipv4(context, vpc, association_id)
        if any(block.id == association_id for block in vpc.ipv6_blocks):
            return _remove_ipv6(context, vpc, association_id)
    raise NotFound(
        f"The vpc CIDR block association ID '{association_id}' does not exist",
        code="InvalidVpcCidrBlockAssociationID.NotFound",
    )


def _remove_ipv4(context: Context, vpc: Vpc, association_id: str) -> dict[str, Any]:
    cidr = dict(vpc.cidrs)[association_id]
    if cidr == vpc.cidr:
        raise OperationNotPermitted(
            f"The vpc CIDR block with association ID {association_id} may not be disassociated. "
            "It is the primary IPv4 CIDR block of the VPC"
        )
    subnets = context.view.list(Subnet, vpc_id=vpc.id)
    if any(IPv4Network(subnet.cidr).subnet_of(IPv4Network(cidr)) for subnet in subnets):
        raise _used(association_id)
    context.tx.put(replace(vpc, cidrs=tuple(pair for pair in vpc.cidrs if pair[0] != association_id)))
    return {"VpcId": vpc.id, "CidrBlockAssociation": draw_ipv4_block(association_id, cidr, "disassociating")}


def _remove_ipv6(context: Context, vpc: Vpc, association_id: str) -> dict[str, Any]:
    block = next(block for block in vpc.ipv6_blocks if block.id == association_id)
    for subnet in context.view.list(Subnet, vpc_id=vpc.id):
        if subnet.ipv6_block is not None and holds_ipv6(block, subnet.ipv6_block.cidr):
            raise _used(association_id)
    context.tx.release(ipv6_scope(vpc.region), block.cidr)
    context.tx.put(replace(vpc, ipv6_blocks=tuple(one for one in vpc.ipv6_blocks if one.id != association_id)))
    return {"VpcId": vpc.id, "Ipv6CidrBlockAssociation": draw_ipv6_block(block, "disassociating")}


def _used(association_id: str) -> DependencyViolation:
    return DependencyViolation(
        f"The vpc CIDR block with association ID {association_id} has dependencies and cannot be disassociated."
    )
