"""What an account may have, and the ids that clients ask for first."""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.records import Vpc
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.instances.networking import MAX_GROUPS
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeAccountAttributesRequestTypeDef


def _default_vpc(context: Context) -> str:
    vpcs = context.view.list(Vpc, account=context.account, region=context.region)
    return next((vpc.id for vpc in vpcs if vpc.is_default), "none")


def _pool_size(context: Context) -> str:
    """An account may hold every public address of the region."""
    pool = context.env.config.region(context.region).public_pool
    return str(sum(IPv4Network(cidr).num_addresses - 5 for cidr in pool))


_ATTRIBUTES: Mapping[str, Callable[[Context], str]] = {
    "supported-platforms": lambda _: "VPC",
    "default-vpc": _default_vpc,
    # AWS answers this too, and says that it means nothing any more: the limit is in vCPUs.
    "max-instances": lambda _: "20",
    "vpc-max-security-groups-per-interface": lambda _: str(MAX_GROUPS),
    "max-elastic-ips": _pool_size,
    "vpc-max-elastic-ips": _pool_size,
}


@ec2.reads("DescribeAccountAttributes")
def describe_account_attributes(context: Context, params: "DescribeAccountAttributesRequestTypeDef") -> dict[str, Any]:
    """Attributes of the caller's account in this region."""
    names = params.get("AttributeNames") or list(_ATTRIBUTES)
    for name in names:
        if name not in _ATTRIBUTES:
            raise InvalidParameterValue(f"Value ({name}) for parameter attributeName is invalid. Unknown attribute.")
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": _ATTRIBUTES[name](context)}]}
            for name in dict.fromkeys(names)
        ]
    }
