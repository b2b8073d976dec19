"""AttachNetworkInterface and DetachNetworkInterface: they write what shall be; hosts and controllers make it so."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.catalogue import InstanceType, instance_type
from pileus.operations.context import Context
from pileus.records import Address, Instance, NetworkInterface
from pileus.records.instance import State
from pileus.records.network_interface import InterfaceAttachment
from pileus.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    MalformedId,
    NotFound,
    OperationNotPermitted,
)
from pileus.services.ec2.interface_addresses import Wanted, check_counts_of_type
from pileus.services.ec2.interface_drawing import interfaces_of
from pileus.services.ec2.network_interfaces import own_interface, refuse_features
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2
from pileus.store import Transaction

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import AttachNetworkInterfaceRequestTypeDef, DetachNetworkInterfaceRequestTypeDef

_ATTACHABLE = frozenset({State.RUNNING, State.STOPPED})


class InterfaceInUse(ServiceError):
    """The interface is attached to an instance."""

    code = "InvalidNetworkInterface.InUse"


def type_of_instance(instance: Instance) -> InstanceType:
    """The type of an instance, which the catalogue has."""
    type_ = instance_type(instance.instance_type)
    assert type_ is not None, f"{instance.id} has a type that the catalogue lost: {instance.instance_type}"
    return type_


def check_free(interface: NetworkInterface) -> None:
    """Raises InterfaceInUse unless the interface is attached to nothing."""
    if interface.attachment is not None:
        raise InterfaceInUse(f"Interface: {interface.id} in use.")


@ec2.writes("AttachNetworkInterface", resources=("network-interface:NetworkInterfaceId", "instance:InstanceId"))
def attach_network_interface(context: Context, params: "AttachNetworkInterfaceRequestTypeDef") -> dict[str, Any]:
    """Attaches an interface to an instance, running or stopped, with its addresses, MAC and groups."""
    refuse_features(params)
    interface = own_interface(context, params["NetworkInterfaceId"])
    instance = INSTANCE.one(context, params["InstanceId"])
    index = params["DeviceIndex"]
    check_card(params.get("NetworkCardIndex", 0))
    check_free(interface)
    if instance.state not in _ATTACHABLE:
        raise IncorrectState(f"Instance '{instance.id}' is not 'running' or 'stopped'.")
    _check_place(interface, instance)
    _check_index(context, instance, index)
    check_counts_of_type(interface, Wanted(), type_of_instance(instance))
    wiring = instance.wiring + 1
    attachment = InterfaceAttachment(
        id=new_id("eni-attach"),
        instance_id=instance.id,
        device_index=index,
        attached=context.now,
        delete_on_termination=False,
        status="attaching",
        fence=wiring,
    )
    context.tx.put(replace(instance, wiring=wiring))
    put_into(context.tx, interface, attachment)
    return {"AttachmentId": attachment.id, "NetworkCardIndex": 0}


def put_into(tx: Transaction, interface: NetworkInterface, attachment: InterfaceAttachment) -> NetworkInterface:
    """Puts an interface that exists into an instance; its Elastic IPs come with it."""
    for one in interface.addresses:
        address = tx.get(Address, one.address_id) if one.address_id else None
        if address is not None:
            tx.put(replace(address, instance_id=attachment.instance_id))
    return tx.put(replace(interface, attachment=attachment))


def check_card(index: int) -> None:
    """Raises InvalidParameterValue unless it is the one network card that instances have here."""
    if index != 0:
        raise InvalidParameterValue(
            f"Value ({index}) for parameter networkCardIndex is invalid. Instances have one network card here: 0."
        )


def _check_place(interface: NetworkInterface, instance: Instance) -> None:
    """Raises unless both are in one zone. They may be in two VPCs of one owner, as on EC2 since 2023."""
    if interface.zone != instance.zone:
        raise InvalidParameterCombination(
            "You may not attach a network interface to an instance if they are not in the same availability zone"
        )


def _check_index(context: Context, instance: Instance, index: int) -> None:
    present = interfaces_of(context, instance)
    type_ = type_of_instance(instance)
    limit = type_.network.maximum_network_interfaces
    if len(present) >= limit:
        raise LimitExceeded(
            f"Interface count {len(present) + 1} exceeds the limit for {type_.name}", code="AttachmentLimitExceeded"
        )
    if index < 0:
        raise InvalidParameterValue(f"Value ({index}) for parameter deviceIndex is invalid. It must not be negative.")
    if any(one.device_index == index for one in present):
        raise InvalidParameterValue(
            f"Instance '{instance.id}' already has an interface attached at device index '{index}'."
        )


@ec2.writes("DetachNetworkInterface", resources=("instance:*", "network-interface:*"))
def detach_network_interface(context: Context, params: "DetachNetworkInterfaceRequestTypeDef") -> dict[str, Any]:
    """Takes an interface out of an instance. Force does not wait for the guest."""
    interface, attachment = find_attachment(context, params["AttachmentId"])
    if attachment.device_index == 0:
        raise OperationNotPermitted(
            "The network interface at device index 0 and networkCard index 0 cannot be detached."
        )
    force = bool(params.get("Force")) or attachment.forced
    if attachment.status == "detaching" and force == attachment.forced:
        return {}
    instance = context.tx.get(Instance, attachment.instance_id)
    assert instance is not None, f"{interface.id} is attached to {attachment.instance_id}, which is gone"
    wiring = instance.wiring + 1
    context.tx.put(replace(instance, wiring=wiring))
    leaving = replace(attachment, status="detaching", forced=force, fence=wiring)
    context.tx.put(replace(interface, attachment=leaving))
    return {}


def find_attachment(context: Context, attachment_id: str) -> tuple[NetworkInterface, InterfaceAttachment]:
    """The caller's interface with this attachment.

    Raises:
        MalformedId, NotFound: there is none. OperationNotPermitted: it is the cloud's own.
    """
    if attachment_id.startswith("ela-attach-"):
        raise OperationNotPermitted("You are not allowed to manage 'ela-attach' attachments.")
    if not attachment_id.startswith("eni-attach-"):
        raise MalformedId(
            f'Invalid id: "{attachment_id}" (expecting "eni-attach-...")', code="InvalidAttachmentID.Malformed"
        )
    for interface in context.view.list(NetworkInterface, attachment_id=attachment_id):
        if interface.account == context.account and interface.region == context.region and interface.attachment:
            return interface, interface.attachment
    raise NotFound(f"The attachment ID '{attachment_id}' does not exist", code="InvalidAttachmentID.NotFound")
