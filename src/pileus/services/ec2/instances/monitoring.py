"""Detailed monitoring of instances: on and off."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.services.ec2.errors import IncorrectInstanceState
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import MonitorInstancesRequestTypeDef, UnmonitorInstancesRequestTypeDef


@ec2.writes("MonitorInstances", resources=("instance:InstanceIds",))
def monitor_instances(context: Context, params: "MonitorInstancesRequestTypeDef") -> dict[str, Any]:
    """Turns detailed monitoring on, for all or none."""
    return _set(context, params["InstanceIds"], monitoring=True)


@ec2.writes("UnmonitorInstances", resources=("instance:InstanceIds",))
def unmonitor_instances(context: Context, params: "UnmonitorInstancesRequestTypeDef") -> dict[str, Any]:
    """Turns it off."""
    return _set(context, params["InstanceIds"], monitoring=False)


def _set(context: Context, ids: Sequence[str], *, monitoring: bool) -> dict[str, Any]:
    drawn: list[dict[str, Any]] = []
    for instance in INSTANCE.find(context, list(dict.fromkeys(ids))):
        if not instance.live:
            raise IncorrectInstanceState(
                f"The instance '{instance.id}' is not in a state from which its monitoring can be changed."
            )
        context.tx.put(replace(instance, monitoring=monitoring))
        drawn.append({"InstanceId": instance.id, "Monitoring": {"State": "enabled" if monitoring else "disabled"}})
    return {"InstanceMonitorings": drawn}
