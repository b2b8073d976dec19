"""ModifyPrivateDnsNameOptions: by which names an instance is known inside of its VPC."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.services.ec2.errors import IncorrectInstanceState, InvalidParameterValue
from pileus.services.ec2.instances.modification import check_stopped
from pileus.services.ec2.interface_drawing import interfaces_of
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifyPrivateDnsNameOptionsRequestTypeDef

HOSTNAME_TYPES = ("ip-name", "resource-name")


@ec2.writes("ModifyPrivateDnsNameOptions", resources=("instance:InstanceId",))
def modify_private_dns_name_options(
    context: Context, params: "ModifyPrivateDnsNameOptionsRequestTypeDef"
) -> dict[str, Any]:
    """Changes the records of a resource name at once, and the host name of an instance that is stopped."""
    instance = INSTANCE.one(context, params["InstanceId"])
    if not instance.live:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in a valid state for this operation.")
    kind = params.get("PrivateDnsHostnameType", instance.hostname_type)
    if kind not in HOSTNAME_TYPES:
        raise InvalidParameterValue(
            f"Value ({kind}) for parameter privateDnsHostnameType is invalid. "
            f"Expecting {' or '.join(map(repr, HOSTNAME_TYPES))}."
        )
    if kind != instance.hostname_type:
        check_stopped(instance)
    wants_ipv6 = params.get("EnableResourceNameDnsAAAARecord", instance.resource_name_dns_aaaa)
    if params.get("EnableResourceNameDnsAAAARecord") and not any(
        one.ipv6_addresses for one in interfaces_of(context, instance)
    ):
        raise InvalidParameterValue(
            f"The instance '{instance.id}' has no IPv6 address (EnableResourceNameDnsAAAARecord)."
        )
    context.tx.put(
        replace(
            instance,
            hostname_type=kind,
            resource_name_dns_a=params.get("EnableResourceNameDnsARecord", instance.resource_name_dns_a),
            resource_name_dns_aaaa=wants_ipv6,
        )
    )
    return {"Return": True}
