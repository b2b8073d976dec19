"""What an account may have, and the ids that clients ask for first."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.records import Vpc
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ELASTIC_IPS, GROUPS_PER_INTERFACE

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeAccountAttributesRequestTypeDef


def _default_vpc(context: Context) -> str:
    vpcs = context.view.list(Vpc, account=context.account, region=context.region)
    return next((vpc.id for vpc in vpcs if vpc.is_default), "none")


_ATTRIBUTES: Mapping[str, Callable[[Context], str]] = {
    "supported-platforms": lambda _: "VPC",
    "default-vpc": _default_vpc,
    # AWS answers this too, and says that it means nothing any more: the limit is in vCPUs.
    "max-instances": lambda _: "20",
    "vpc-max-security-groups-per-interface": lambda _: str(GROUPS_PER_INTERFACE.value),
    "max-elastic-ips": lambda _: str(ELASTIC_IPS.value),
    "vpc-max-elastic-ips": lambda _: str(ELASTIC_IPS.value),
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
