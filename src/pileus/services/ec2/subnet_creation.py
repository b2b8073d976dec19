"""Making and deleting subnets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.catalogue import ZoneInfo
from pileus.operations.context import Context
from pileus.operations.tags import tags_for
from pileus.records import NetworkAcl, NetworkInterface, RouteTable, Subnet, SubnetReservation, Vpc
from pileus.records.vpc import Ipv6Block
from pileus.services.ec2.cidr_rules import subnet_block, subnet_ipv6_block
from pileus.services.ec2.defaults import put_subnet
from pileus.services.ec2.errors import (
    DependencyViolation,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    Unsupported,
)
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.resources import SUBNET, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.subnets import draw_subnet
from pileus.services.ec2.vpc_quotas import SUBNETS_PER_VPC

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CreateSubnetRequestTypeDef, DeleteSubnetRequestTypeDef


@ec2.writes("CreateSubnet", resources=("vpc:VpcId",), taggable=("subnet",))
def create_subnet(context: Context, params: "CreateSubnetRequestTypeDef") -> dict[str, Any]:
    """Makes a subnet in a block of its VPC and in a zone that the caller can use."""
    refuse_other_kinds(params)
    vpc = VPC.one(context, params["VpcId"])
    block = params.get("CidrBlock")
    if not block:
        raise MissingParameter("cidrBlock")
    zone = wanted_zone(context, params)
    siblings = context.view.list(Subnet, vpc_id=vpc.id)
    cidr = subnet_block(block, [one for _, one in vpc.cidrs], [subnet.cidr for subnet in siblings])
    ipv6 = params.get("Ipv6CidrBlock")
    SUBNETS_PER_VPC.check(len(siblings))
    subnet = put_subnet(
        context.tx,
        Subnet(
            id=new_id("subnet"),
            account=context.account,
            region=context.region,
            tags=tags_for(params, "subnet"),
            vpc_id=vpc.id,
            cidr=cidr,
            ipv6_block=ipv6_block(context, vpc, zone, ipv6) if ipv6 else None,
            zone=zone.name,
            zone_id=zone.id,
        ),
    )
    return {"Subnet": draw_subnet(context, subnet)}


def refuse_other_kinds(params: Mapping[str, Any]) -> None:
    """Refuses subnets that this cloud does not have. Raises Unsupported."""
    if params.get("Ipv6Native"):
        raise Unsupported(
            "The parameter Ipv6Native is not available in this cloud: every subnet has an IPv4 CIDR block."
        )
    for name in ("OutpostArn", "Ipv4IpamPoolId", "Ipv4NetmaskLength", "Ipv6IpamPoolId", "Ipv6NetmaskLength"):
        if params.get(name) is not None:
            raise Unsupported(f"The parameter {name} is not available in this cloud.")


def wanted_zone(context: Context, params: Mapping[str, Any]) -> ZoneInfo:
    """The zone that AvailabilityZone or AvailabilityZoneId names; the first one where neither is given.

    Raises:
        InvalidParameterCombination: both are given, and name different zones.
        InvalidParameterValue: the region has no such zone, or the caller has not opted in to its group.
    """
    zones = configured_zones(context)
    name, id_ = params.get("AvailabilityZone"), params.get("AvailabilityZoneId")
    if not name and not id_:
        return zones[0]
    if name and name not in {zone.name for zone in zones}:
        raise _no_zone("availabilityZone", name, [zone.name for zone in zones])
    if id_ and id_ not in {zone.id for zone in zones}:
        raise _no_zone("availabilityZoneId", id_, [zone.id for zone in zones])
    for zone in zones:
        if (not name or zone.name == name) and (not id_ or zone.id == id_):
            return zone
    raise InvalidParameterCombination(f"The availabilityZone '{name}' is not the availabilityZoneId '{id_}'.")


def _no_zone(parameter: str, value: str, usable: list[str]) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"Value ({value}) for parameter {parameter} is invalid. "
        f"Subnets can currently only be created in the following availability zones: {', '.join(usable)}."
    )


def ipv6_block(context: Context, vpc: Vpc, zone: ZoneInfo, wanted: str) -> Ipv6Block:
    """The IPv6 block that a subnet of this zone is to have, checked.

    Raises InvalidParameterValue, InvalidSubnetRange, InvalidSubnetConflict.
    """
    if zone.type == "wavelength-zone":
        raise InvalidParameterValue("IPv6 CIDR blocks are not supported in Wavelength Zones.")
    siblings = context.view.list(Subnet, vpc_id=vpc.id)
    taken = [subnet.ipv6_block.cidr for subnet in siblings if subnet.ipv6_block]
    blocks = [block.cidr for block in vpc.ipv6_blocks if block.border_group == zone.network_border_group]
    return Ipv6Block(
        id=new_id("subnet-cidr-assoc"),
        cidr=subnet_ipv6_block(wanted, blocks, taken),
        border_group=zone.network_border_group,
    )


@ec2.writes("DeleteSubnet", resources=("subnet:SubnetId",))
def delete_subnet(context: Context, params: "DeleteSubnetRequestTypeDef") -> dict[str, Any]:
    """Deletes a subnet without interfaces, and its associations with it."""
    tx, subnet = context.tx, SUBNET.one(context, params["SubnetId"])
    if tx.list(NetworkInterface, subnet_id=subnet.id):
        raise DependencyViolation(f"The subnet '{subnet.id}' has dependencies and cannot be deleted.")
    for kind in (NetworkAcl, RouteTable):
        for record in tx.list(kind, subnet_ids=subnet.id):
            kept = tuple(one for one in record.associations if one.subnet_id != subnet.id)
            tx.put(replace(record, associations=kept))
    for reservation in tx.list(SubnetReservation, subnet_id=subnet.id):
        tx.delete(reservation)
    tx.delete(subnet)
    return {}
