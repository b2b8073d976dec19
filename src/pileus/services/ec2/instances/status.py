"""DescribeInstanceStatus: the state, and whether host and guest are well."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.records import Host, Instance
from pileus.records.instance import CODES, State
from pileus.services.ec2.instances.draw import draw_state
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeInstanceStatusRequestTypeDef


def instance_status(_: Context, instance: Instance) -> str:
    """Whether the guest is well: ``ok``, ``impaired``, ``initializing``, ``not-applicable``."""
    if instance.state is not State.RUNNING:
        return "initializing" if instance.state is State.PENDING else "not-applicable"
    seen = instance.observed
    if seen is None or seen.boot != instance.boot:
        return "initializing"
    return "impaired" if seen.impaired or seen.phase != "running" else "ok"


def system_status(context: Context, instance: Instance) -> str:
    """Whether its host is well: ``ok``, ``impaired``, ``initializing``, ``not-applicable``."""
    if instance.state not in {State.RUNNING, State.PENDING}:
        return "not-applicable"
    host = context.view.get(Host, instance.host_id) if instance.host_id else None
    if host is not None and host.state == "lost":
        return "impaired"
    return "ok" if instance.state is State.RUNNING else "initializing"


def volumes_status(context: Context, instance: Instance) -> str:
    """Whether its volumes, which are on its host, are well: as ``system_status``."""
    return system_status(context, instance)


_REACHABILITY = {"ok": "passed", "impaired": "failed", "initializing": "initializing"}


def _summary(status: str) -> dict[str, Any]:
    if status not in _REACHABILITY:
        return {"Status": status, "Details": []}
    return {"Status": status, "Details": [{"Name": "reachability", "Status": _REACHABILITY[status]}]}


def _draw(context: Context, instance: Instance) -> dict[str, Any]:
    return {
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "AvailabilityZoneId": instance.zone_id,
        "InstanceState": draw_state(instance.state),
        "InstanceStatus": _summary(instance_status(context, instance)),
        "SystemStatus": _summary(system_status(context, instance)),
        "AttachedEbsStatus": _summary(volumes_status(context, instance)),
        "Operator": {"Managed": False},
        "Events": [],
    }


STATUSES = Listing(
    kind=Instance,
    member="InstanceStatuses",
    draw=_draw,
    cached=False,
    ids="InstanceIds",
    find=INSTANCE.find,
    page=Page(least=5, most=1000),
    exclusive=True,
    filters={
        "application-status.status": absent,
        "attached-ebs-status.status": volumes_status,
        "availability-zone": lambda _, instance: instance.zone,
        "availability-zone-id": lambda _, instance: instance.zone_id,
        "event.code": absent,
        "event.description": absent,
        "event.instance-event-id": absent,
        "event.not-after": absent,
        "event.not-before": absent,
        "event.not-before-deadline": absent,
        "instance-state-code": lambda _, instance: CODES[instance.state],
        "instance-state-name": lambda _, instance: str(instance.state),
        "instance-status.reachability": lambda c, i: _REACHABILITY.get(instance_status(c, i)),
        "instance-status.status": instance_status,
        "operator.managed": constant("false"),
        "operator.principal": absent,
        "system-status.reachability": lambda c, i: _REACHABILITY.get(system_status(c, i)),
        "system-status.status": system_status,
    },
)


@ec2.reads("DescribeInstanceStatus")
def describe_instance_status(context: Context, params: "DescribeInstanceStatusRequestTypeDef") -> dict[str, Any]:
    """The status of running instances, or of all with IncludeAllInstances."""
    everything = params.get("IncludeAllInstances")
    return STATUSES.answer(context, params, lambda one: bool(everything) or one.state is State.RUNNING)
