"""Starting, stopping, rebooting and terminating instances."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context, NoCapacity
from pileus.records import Instance, Volume
from pileus.records.instance import Reason, State, check_transition
from pileus.services.ec2.address_binding import (
    gets_public_address,
    give_public_address,
    in_wavelength_zone,
)
from pileus.services.ec2.errors import (
    IncorrectInstanceState,
    InsufficientInstanceCapacity,
    InvalidParameterCombination,
    InvalidParameterValue,
    OperationNotPermitted,
    UnsupportedOperation,
)
from pileus.services.ec2.instances.draw import draw_state
from pileus.services.ec2.interface_drawing import interfaces_of
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        RebootInstancesRequestTypeDef,
        StartInstancesRequestTypeDef,
        StopInstancesRequestTypeDef,
        TerminateInstancesRequestTypeDef,
    )

_BY_USER = Reason(code="Client.UserInitiatedShutdown", message="Client.UserInitiatedShutdown: User initiated shutdown")


def _named(context: Context, ids: Sequence[str]) -> list[Instance]:
    return INSTANCE.find(context, list(dict.fromkeys(ids)))


def _change(before: Instance, after: Instance) -> dict[str, Any]:
    # In this order: libcloud takes the first state in an answer for the new one.
    return {
        "InstanceId": before.id,
        "CurrentState": draw_state(after.state),
        "PreviousState": draw_state(before.state),
    }


def by_user(now: datetime) -> str:
    """The transition reason of something that the owner asked for."""
    return f"User initiated ({now:%Y-%m-%d %H:%M:%S} GMT)"


def _enter(context: Context, instance: Instance, state: State, **changes: Any) -> Instance:
    check_transition(instance.state, state)
    return context.tx.put(replace(instance, state=state, **changes))


@ec2.writes("StartInstances", resources=("instance:InstanceIds",))
def start_instances(context: Context, params: "StartInstancesRequestTypeDef") -> dict[str, Any]:
    """Starts stopped instances, all or none. They keep private addresses and volumes; public addresses are new."""
    changes: list[dict[str, Any]] = []
    for instance in _named(context, params["InstanceIds"]):
        if instance.state not in {State.STOPPED, State.PENDING, State.RUNNING}:
            raise IncorrectInstanceState(
                f"The instance '{instance.id}' is not in a state from which it can be started."
            )
        started = _start(context, instance) if instance.state is State.STOPPED else instance
        changes.append(_change(instance, started))
    return {"StartingInstances": changes}


def _start(context: Context, instance: Instance) -> Instance:
    if not _has_root(context, instance):
        raise InvalidParameterValue(
            f"Invalid value '{instance.id}' for instanceId. Instance does not have a volume attached at root "
            f"({instance.root_device_name})"
        )
    fresh = replace(
        instance,
        boot=instance.boot + 1,
        reset=0,
        force=False,
        crashes=0,
        launched=context.now,
        reason=None,
        transition="",
        observed=None,
    )
    try:
        placed = context.env.placement.place(context.tx, fresh)
    except NoCapacity as error:
        raise InsufficientInstanceCapacity(
            f"We currently do not have sufficient {instance.instance_type} capacity in the Availability Zone you "
            f"requested ({instance.zone})."
        ) from error
    for interface in interfaces_of(context, instance):
        if gets_public_address(context, interface):
            give_public_address(context, interface, carrier=in_wavelength_zone(context, interface))
    return _enter(context, placed, State.PENDING)


def _has_root(context: Context, instance: Instance) -> bool:
    """Whether there is a volume to boot from, which is not being taken away."""
    for device in instance.block_devices:
        if device.device_name == instance.root_device_name:
            volume = context.view.get(Volume, device.volume_id)
            attachment = volume.attachment_to(instance.id) if volume else None
            return attachment is not None and not attachment.leaving
    return False


@ec2.writes("StopInstances", resources=("instance:InstanceIds",))
def stop_instances(context: Context, params: "StopInstancesRequestTypeDef") -> dict[str, Any]:
    """Stops instances, all or none. Force skips the guest's own shutdown."""
    if params.get("Hibernate"):
        raise UnsupportedOperation("The instance is not configured for hibernation (Hibernate).")
    force = bool(params.get("Force") or params.get("SkipOsShutdown"))
    changes: list[dict[str, Any]] = []
    for instance in _named(context, params["InstanceIds"]):
        if not instance.live:
            raise IncorrectInstanceState(
                f"The instance '{instance.id}' is not in a state from which it can be stopped."
            )
        if instance.disable_api_stop:
            raise OperationNotPermitted(
                f"The instance '{instance.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again."
            )
        changes.append(_change(instance, _stop(context, instance, force=force)))
    return {"StoppingInstances": changes}


def _stop(context: Context, instance: Instance, *, force: bool) -> Instance:
    if instance.state is State.STOPPED:
        return instance
    if instance.state is State.STOPPING:
        return context.tx.put(replace(instance, force=True)) if force and not instance.force else instance
    return _enter(context, instance, State.STOPPING, force=force, reason=_BY_USER, transition=by_user(context.now))


@ec2.writes("RebootInstances", resources=("instance:InstanceIds",))
def reboot_instances(context: Context, params: "RebootInstancesRequestTypeDef") -> dict[str, Any]:
    """Asks the guests to reboot; one that does not is reset after four minutes."""
    for instance in _named(context, params["InstanceIds"]):
        if instance.state not in {State.RUNNING, State.PENDING}:
            raise IncorrectInstanceState(
                f"The instance '{instance.id}' is not in a state from which it can be rebooted."
            )
        if instance.state is State.RUNNING:
            context.tx.put(replace(instance, reset=instance.reset + 1))
    return {}


@ec2.writes("TerminateInstances", resources=("instance:InstanceIds",))
def terminate_instances(context: Context, params: "TerminateInstancesRequestTypeDef") -> dict[str, Any]:
    """Ends instances for ever, all or none. One that is terminated already stays so."""
    if params.get("Force") and params.get("SkipOsShutdown") is False:
        raise InvalidParameterCombination("The parameter force cannot be used with skipOsShutdown=false")
    force = bool(params.get("Force") or params.get("SkipOsShutdown"))
    instances = _named(context, params["InstanceIds"])
    for instance in instances:
        if instance.disable_api_termination and instance.live:
            raise OperationNotPermitted(
                f"The instance '{instance.id}' may not be terminated. Modify its 'disableApiTermination' instance "
                "attribute and try again."
            )
    return {"TerminatingInstances": [_change(one, _terminate(context, one, force=force)) for one in instances]}


def _terminate(context: Context, instance: Instance, *, force: bool) -> Instance:
    if not instance.live:
        return instance
    return _enter(
        context,
        instance,
        State.SHUTTING_DOWN,
        force=force or instance.force,
        reason=_BY_USER,
        transition=by_user(context.now),
    )
