"""Default VPCs and default subnets that an account makes again after it has deleted them."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import InternetGateway, Subnet, Vpc
from pileus.services.ec2.cidr_rules import first_free
from pileus.services.ec2.defaults import SUBNET_PREFIX, create_default_vpc, put_default_subnet
from pileus.services.ec2.errors import InvalidParameterValue, MissingParameter
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.service import ec2
from pileus.services.ec2.subnet_creation import refuse_other_kinds, wanted_zone
from pileus.services.ec2.subnets import draw_subnet
from pileus.services.ec2.vpc_quotas import INTERNET_GATEWAYS, SUBNETS_PER_VPC, VPCS
from pileus.services.ec2.vpcs import draw_vpc

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CreateDefaultSubnetRequestTypeDef, CreateDefaultVpcRequestTypeDef


class DefaultVpcAlreadyExists(ServiceError):
    """There is one already."""

    code = "DefaultVpcAlreadyExists"


class DefaultVpcDoesNotExist(ServiceError):
    """A default subnet is in a default VPC, and there is none."""

    code = "DefaultVpcDoesNotExist"


class DefaultSubnetAlreadyExists(ServiceError):
    """The zone has one already."""

    code = "DefaultSubnetAlreadyExistsInAvailabilityZone"


def _default_vpc(context: Context) -> Vpc | None:
    vpcs = context.view.list(Vpc, account=context.account, region=context.region)
    return next((vpc for vpc in vpcs if vpc.is_default), None)


@ec2.writes("CreateDefaultVpc")
def create_default_vpc_again(context: Context, _: "CreateDefaultVpcRequestTypeDef") -> dict[str, Any]:
    """Makes a default VPC with its internet gateway and a default subnet in each availability zone."""
    if _default_vpc(context) is not None:
        raise DefaultVpcAlreadyExists("A Default VPC already exists for this account in this region.")
    place = {"account": context.account, "region": context.region}
    VPCS.check(len(context.view.list(Vpc, **place)))
    INTERNET_GATEWAYS.check(len(context.view.list(InternetGateway, **place)))
    zones = [zone.name for zone in configured_zones(context) if zone.type == "availability-zone"]
    return {"Vpc": draw_vpc(create_default_vpc(context.tx, context.account, context.region, zones))}


@ec2.writes("CreateDefaultSubnet")
def create_default_subnet(context: Context, params: "CreateDefaultSubnetRequestTypeDef") -> dict[str, Any]:
    """Makes the default subnet of a zone that has none: the first /20 of the default VPC that is free."""
    refuse_other_kinds(params)
    if not params.get("AvailabilityZone") and not params.get("AvailabilityZoneId"):
        raise MissingParameter("availabilityZone")
    zone = wanted_zone(context, params)
    if zone.type == "wavelength-zone":
        raise InvalidParameterValue("Default subnets are not supported in Wavelength Zones.")
    vpc = _default_vpc(context)
    if vpc is None:
        raise DefaultVpcDoesNotExist("No default VPC exists for this account in this region.")
    subnets = context.view.list(Subnet, vpc_id=vpc.id)
    for subnet in subnets:
        if subnet.default_for_az and subnet.zone == zone.name:
            raise DefaultSubnetAlreadyExists(f"'{subnet.id}' is already the default subnet in {zone.name}.")
    SUBNETS_PER_VPC.check(len(subnets))
    cidr = first_free(vpc.cidr, SUBNET_PREFIX, [subnet.cidr for subnet in subnets])
    if cidr is None:
        raise InvalidParameterValue(f"The default VPC '{vpc.id}' has no free /{SUBNET_PREFIX} for a default subnet.")
    return {"Subnet": draw_subnet(context, put_default_subnet(context.tx, vpc, cidr, zone.name, zone.id))}
