"""Metadata options: who may read the metadata service of an instance, and how."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records.instance import MetadataOptions
from pileus.services.ec2.errors import IncorrectInstanceState, InvalidParameterCombination, InvalidParameterValue
from pileus.services.ec2.instances.draw import draw_metadata_options
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifyInstanceMetadataOptionsRequestTypeDef

_OPTIONS = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpProtocolIpv6", "InstanceMetadataTags")
_OF_AN_ENDPOINT = ("HttpTokens", "HttpPutResponseHopLimit", "HttpProtocolIpv6")


def metadata_options(wanted: Mapping[str, Any], before: MetadataOptions | None = None) -> MetadataOptions:
    """Metadata options after a request's changes. Raises InvalidParameterValue."""
    before = before or MetadataOptions()
    hops = wanted.get("HttpPutResponseHopLimit", before.hop_limit)
    if not 1 <= hops <= 64:
        raise InvalidParameterValue(
            f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. Expecting an integer between 1 and 64."
        )
    chosen: dict[str, Any] = {"hop_limit": hops}
    for parameter, field, allowed in (
        ("HttpTokens", "tokens", ("optional", "required")),
        ("HttpEndpoint", "endpoint", ("enabled", "disabled")),
        ("HttpProtocolIpv6", "ipv6", ("enabled", "disabled")),
        ("InstanceMetadataTags", "tags", ("enabled", "disabled")),
    ):
        value = wanted.get(parameter)
        if value is None:
            continue
        if value not in allowed:
            raise InvalidParameterValue(
                f"Value ({value}) for parameter {parameter} is invalid. Expecting one of {allowed}."
            )
        chosen[field] = value
    return replace(before, **chosen)


@ec2.writes("ModifyInstanceMetadataOptions", resources=("instance:InstanceId",))
def modify_instance_metadata_options(
    context: Context, params: "ModifyInstanceMetadataOptionsRequestTypeDef"
) -> dict[str, Any]:
    """Changes what is given and keeps the rest. ``pending`` until the host of a running instance has taken it over."""
    instance = INSTANCE.one(context, params["InstanceId"])
    if not instance.live:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'running' or 'stopped' state.")
    if not any(name in params for name in _OPTIONS):
        raise InvalidParameterCombination("No attributes specified.")
    if params.get("HttpEndpoint") == "disabled":
        for name in _OF_AN_ENDPOINT:
            if name in params:
                raise InvalidParameterCombination(f"The parameter {name} cannot be used while HttpEndpoint is disabled")
    changed = context.tx.put(replace(instance, metadata=metadata_options(params, instance.metadata)))
    return {
        "InstanceId": instance.id,
        "InstanceMetadataOptions": {**draw_metadata_options(changed), "State": "pending"},
    }
