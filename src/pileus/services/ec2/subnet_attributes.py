"""Attributes of subnets that can be changed."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Subnet
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    Unsupported,
)
from pileus.services.ec2.regions import zone_of
from pileus.services.ec2.resources import SUBNET
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifySubnetAttributeRequestTypeDef


def _assign_ipv6(subnet: Subnet, value: Any) -> Subnet:
    if value and subnet.ipv6_block is None:
        raise InvalidParameterValue(
            "Invalid value 'true' for assignIpv6AddressOnCreation. The subnet must have an IPv6 CIDR block."
        )
    return replace(subnet, assign_ipv6=value)


def _map_public(subnet: Subnet, value: Any) -> Subnet:
    zone = zone_of(subnet)
    if value and zone is not None and zone.type == "wavelength-zone":
        raise InvalidParameterValue(
            "Invalid value 'true' for mapPublicIpOnLaunch. "
            "Instances in Wavelength Zones get carrier addresses, with AssociateCarrierIpAddress."
        )
    return replace(subnet, map_public_ip_on_launch=value)


def _hostname_type(subnet: Subnet, value: Any) -> Subnet:
    if value not in {"ip-name", "resource-name"}:
        raise InvalidParameterValue(f"Value ({value}) for parameter privateDnsHostnameTypeOnLaunch is invalid.")
    return replace(subnet, hostname_type=value)


def _aaaa_record(subnet: Subnet, value: Any) -> Subnet:
    if value and subnet.ipv6_block is None:
        raise InvalidParameterValue(
            "Invalid value 'true' for enableResourceNameDnsAAAARecordOnLaunch. The subnet must have an IPv6 CIDR block."
        )
    return replace(subnet, resource_name_dns_aaaa=value)


def _dns64(subnet: Subnet, value: Any) -> Subnet:
    if value:
        raise Unsupported("The parameter EnableDns64 is not available in this cloud: there are no IPv6-only subnets.")
    return replace(subnet, dns64=False)


_SETTERS: Mapping[str, Callable[[Subnet, Any], Subnet]] = {
    "AssignIpv6AddressOnCreation": _assign_ipv6,
    "MapPublicIpOnLaunch": _map_public,
    "EnableDns64": _dns64,
    "PrivateDnsHostnameTypeOnLaunch": _hostname_type,
    "EnableResourceNameDnsARecordOnLaunch": lambda subnet, value: replace(subnet, resource_name_dns_a=value),
    "EnableResourceNameDnsAAAARecordOnLaunch": _aaaa_record,
}
_OF_OUTPOSTS = (
    "MapCustomerOwnedIpOnLaunch",
    "CustomerOwnedIpv4Pool",
    "EnableLniAtDeviceIndex",
    "DisableLniAtDeviceIndex",
)


@ec2.writes("ModifySubnetAttribute", resources=("subnet:SubnetId",))
def modify_subnet_attribute(context: Context, params: "ModifySubnetAttributeRequestTypeDef") -> dict[str, Any]:
    """Changes one attribute of a subnet; what exists in it already stays as it is."""
    subnet = SUBNET.one(context, params["SubnetId"])
    for name in _OF_OUTPOSTS:
        if params.get(name) is not None:
            raise Unsupported(f"The parameter {name} is not available in this cloud: it is for Outposts.")
    given = [name for name in _SETTERS if params.get(name) is not None]
    if not given:
        raise MissingParameter("that is to be modified, such as mapPublicIpOnLaunch")
    if len(given) > 1:
        raise InvalidParameterCombination("Only one subnet attribute can be modified at a time.")
    context.tx.put(_SETTERS[given[0]](subnet, _value(params, given[0])))
    return {}


def _value(params: Mapping[str, Any], name: str) -> Any:
    given = params[name]
    if not isinstance(given, Mapping):
        return given
    if "Value" not in given:
        raise MissingParameter(f"{name}.Value")
    return bool(given["Value"])  # pyright: ignore[reportUnknownArgumentType] - one of the model's AttributeBooleanValue
