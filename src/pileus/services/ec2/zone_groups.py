"""Opting in to groups of local and wavelength zones."""

from typing import TYPE_CHECKING

from pileus.operations.context import Context
from pileus.records import ZoneGroupOptIn
from pileus.records.zone_group import opt_in_id
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.regions import all_zones, opt_in_status
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifyAvailabilityZoneGroupRequestTypeDef


@ec2.writes("ModifyAvailabilityZoneGroup")
def modify_availability_zone_group(
    context: Context, params: "ModifyAvailabilityZoneGroupRequestTypeDef"
) -> dict[str, bool]:
    """Lets the caller's account use the zones of a group. As on AWS, there is no way back."""
    group, status = params["GroupName"], params["OptInStatus"]
    zone = next((zone for zone in all_zones(context) if zone.group == group), None)
    if zone is None:
        raise InvalidParameterValue(f"Value ({group}) for parameter groupName is invalid. Unknown zone group.")
    if status != "opted-in":
        raise InvalidParameterValue(
            f"Value ({status}) for parameter optInStatus is invalid. The only valid value is opted-in: "
            "the operator of the cloud has to opt an account out of a zone group."
        )
    if opt_in_status(context, zone) == "not-opted-in":
        context.tx.put(
            ZoneGroupOptIn(
                id=opt_in_id(context.account, group), account=context.account, region=context.region, group=group
            )
        )
    return {"Return": True}
