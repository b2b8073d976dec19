"""The credit option of burstable instances.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances.html.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.catalogue import instance_type
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.records import Instance
from pileus.services.ec2.errors import IncorrectInstanceState, InvalidParameterValue
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeInstanceCreditSpecificationsRequestTypeDef,
        ModifyInstanceCreditSpecificationRequestTypeDef,
    )

_STANDARD_BY_DEFAULT = frozenset({"t1", "t2"})


class DuplicateInstance(ServiceError):
    """The call names an instance twice."""

    code = "InvalidInstanceCreditSpecification.DuplicateInstanceId"


class NotSupported(ServiceError):
    """The instance's type has no credits."""

    code = "InstanceCreditSpecification.NotSupported"


def _burstable(instance: Instance) -> bool:
    type_ = instance_type(instance.instance_type)
    return type_ is not None and type_.burstable


def credit_option(instance: Instance) -> str:
    """``standard`` or ``unlimited``: as asked for, or the default of its family; ``standard`` of all that can't burst."""
    if instance.cpu_credits:
        return instance.cpu_credits
    family = instance.instance_type.partition(".")[0]
    return "unlimited" if _burstable(instance) and family not in _STANDARD_BY_DEFAULT else "standard"


def _unlimited(context: Context) -> Iterable[Instance]:
    """Without ids, EC2 tells of those with the unlimited option."""
    instances = context.view.list(Instance, account=context.account, region=context.region)
    return [instance for instance in instances if credit_option(instance) == "unlimited"]


CREDIT_SPECIFICATIONS = Listing(
    kind=Instance,
    member="InstanceCreditSpecifications",
    draw=lambda _, instance: {"InstanceId": instance.id, "CpuCredits": credit_option(instance)},
    cached=False,
    ids="InstanceIds",
    find=INSTANCE.find,
    rows=_unlimited,
    exclusive=True,
    filters={"instance-id": lambda _, instance: instance.id},
)


@ec2.reads("DescribeInstanceCreditSpecifications")
def describe_instance_credit_specifications(
    context: Context, params: "DescribeInstanceCreditSpecificationsRequestTypeDef"
) -> dict[str, Any]:
    """The credit option of the named instances, or all instances with the unlimited one."""
    return CREDIT_SPECIFICATIONS.answer(context, params)


@ec2.writes("ModifyInstanceCreditSpecification", resources=("instance:InstanceCreditSpecifications",), idempotent=True)
def modify_instance_credit_specification(
    context: Context, params: "ModifyInstanceCreditSpecificationRequestTypeDef"
) -> dict[str, Any]:
    """Sets the credit option of each instance that can have one, and says of the others why not."""
    wanted: dict[str, str | None] = {}
    for one in params["InstanceCreditSpecifications"]:
        if one["InstanceId"] in wanted:
            raise DuplicateInstance(f"The instance ID '{one['InstanceId']}' is given more than once.")
        wanted[one["InstanceId"]] = one.get("CpuCredits")
    succeeded: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for id_, option in wanted.items():
        if option not in {"standard", "unlimited"}:
            raise InvalidParameterValue(
                f"Value ({option}) for parameter cpuCredits is invalid. Expecting 'standard' or 'unlimited'."
            )
        try:
            context.tx.put(replace(_modifiable(context, id_), cpu_credits=option))
            succeeded.append({"InstanceId": id_})
        except ServiceError as error:
            failed.append({"InstanceId": id_, "Error": {"Code": error.code, "Message": error.message}})
    return {
        "SuccessfulInstanceCreditSpecifications": succeeded,
        "UnsuccessfulInstanceCreditSpecifications": failed,
    }


def _modifiable(context: Context, id_: str) -> Instance:
    instance = INSTANCE.one(context, id_)
    if not _burstable(instance):
        raise NotSupported(f"The instance type {instance.instance_type} of '{id_}' does not support CPU credits.")
    if not instance.live:
        raise IncorrectInstanceState(f"The instance '{id_}' is not in the 'running' or 'stopped' state.")
    return instance
