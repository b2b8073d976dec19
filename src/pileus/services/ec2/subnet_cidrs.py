"""IPv6 blocks of subnets."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import NetworkInterface, Subnet, SubnetReservation, Vpc
from pileus.records.subnet import ReleasedBlock
from pileus.services.ec2.errors import (
    DependencyViolation,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.regions import zone_of
from pileus.services.ec2.resources import SUBNET
from pileus.services.ec2.service import ec2
from pileus.services.ec2.subnet_creation import ipv6_block
from pileus.services.ec2.subnets import RELEASED_SHOWN, draw_ipv6_block

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AssociateSubnetCidrBlockRequestTypeDef,
        DisassociateSubnetCidrBlockRequestTypeDef,
    )


@ec2.writes("AssociateSubnetCidrBlock", resources=("subnet:SubnetId",))
def associate_subnet_cidr_block(context: Context, params: "AssociateSubnetCidrBlockRequestTypeDef") -> dict[str, Any]:
    """Gives a subnet an IPv6 block out of its VPC's; it can have only one."""
    for name in ("Ipv6IpamPoolId", "Ipv6NetmaskLength"):
        if params.get(name) is not None:
            raise Unsupported(f"The parameter {name} is not available in this cloud.")
    subnet = SUBNET.one(context, params["SubnetId"])
    wanted = params.get("Ipv6CidrBlock")
    if not wanted:
        raise MissingParameter("ipv6CidrBlock")
    vpc, zone = context.view.get(Vpc, subnet.vpc_id), zone_of(subnet)
    if vpc is None or zone is None:
        raise LookupError(f"{subnet.id} has no VPC or no zone")
    block = ipv6_block(context, vpc, zone, wanted)
    if subnet.ipv6_block is not None:
        raise InvalidParameterValue(f"The subnet '{subnet.id}' already has an IPv6 CIDR block.")
    context.tx.put(replace(subnet, ipv6_block=block))
    return {"SubnetId": subnet.id, "Ipv6CidrBlockAssociation": draw_ipv6_block(block, "associating")}


@ec2.writes("DisassociateSubnetCidrBlock")
def disassociate_subnet_cidr_block(
    context: Context, params: "DisassociateSubnetCidrBlockRequestTypeDef"
) -> dict[str, Any]:
    """Takes its IPv6 block from a subnet in which nothing has an IPv6 address."""
    association_id = params["AssociationId"]
    for subnet in context.view.list(Subnet, account=context.account, region=context.region):
        block = subnet.ipv6_block
        if block is not None and block.id == association_id:
            _check_unused(context, subnet, association_id)
            shown = (one for one in subnet.released_ipv6 if one.at > context.now - RELEASED_SHOWN)
            released = (ReleasedBlock(block=block, at=context.now), *shown)
            # What needs IPv6 ends with it.
            after = replace(
                subnet, ipv6_block=None, released_ipv6=released, assign_ipv6=False, resource_name_dns_aaaa=False
            )
            context.tx.put(after)
            return {"SubnetId": subnet.id, "Ipv6CidrBlockAssociation": draw_ipv6_block(block, "disassociating")}
    raise NotFound(
        f"The subnet CIDR block with association ID '{association_id}' does not exist",
        code="InvalidSubnetCidrBlockAssociationID.NotFound",
    )


def _check_unused(context: Context, subnet: Subnet, association_id: str) -> None:
    interfaces = context.view.list(NetworkInterface, subnet_id=subnet.id)
    reservations = context.view.list(SubnetReservation, subnet_id=subnet.id)
    if any(interface.ipv6_addresses or interface.ipv6_prefixes for interface in interfaces) or any(
        ":" in reservation.cidr for reservation in reservations
    ):
        raise DependencyViolation(
            f"The subnet CIDR block with association ID {association_id} has dependencies and cannot be disassociated."
        )
