"""Creating and deleting network interfaces, and which interface is meant by its instance."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.tags import tags_for
from pileus.records import Instance, NetworkInterface
from pileus.services.ec2.errors import (
    IncorrectInstanceState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    OperationNotPermitted,
    Unsupported,
)
from pileus.services.ec2.interface_addresses import wanted_addresses
from pileus.services.ec2.interface_creation import check_groups, make_interface, remove_interface
from pileus.services.ec2.interface_drawing import draw_interface, interfaces_of
from pileus.services.ec2.resources import NETWORK_INTERFACE, SUBNET
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_ec2.type_defs import CreateNetworkInterfaceRequestTypeDef, DeleteNetworkInterfaceRequestTypeDef

MAX_DESCRIPTION = 255


class MultipleInterfaces(ServiceError):
    """The instance has more than one interface, and the call does not say which is meant."""

    code = "InvalidInstanceID"


def only_interface(context: Context, instance: Instance) -> NetworkInterface:
    """The interface that is meant by naming its instance. Raises MultipleInterfaces, IncorrectInstanceState."""
    interfaces = interfaces_of(context, instance)
    if not interfaces:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in a valid state for this operation.")
    if len(interfaces) > 1:
        raise MultipleInterfaces(
            f"There are multiple interfaces attached to instance '{instance.id}'. "
            "Please specify an interface ID for the operation instead."
        )
    return interfaces[0]


def own_interface(context: Context, interface_id: str) -> NetworkInterface:
    """The caller's interface of this id, that the caller may change.

    Raises:
        NotFound, MalformedId: it is not there. OperationNotPermitted: the cloud manages it.
    """
    interface = NETWORK_INTERFACE.one(context, interface_id)
    if interface.requester_id is not None:
        raise OperationNotPermitted(
            f"You do not have permission to access the specified resource: '{interface.id}' is managed by "
            f"{interface.requester_id}."
        )
    return interface


def refuse_features(params: "Mapping[str, Any]") -> None:
    """Refuses by name what interfaces can't have here. Raises Unsupported."""
    for name in ("ConnectionTrackingSpecification", "EnaSrdSpecification", "AssociatedSubnetIds", "EnaQueueCount"):
        if params.get(name):
            raise Unsupported(f"The parameter {name} is not available in this cloud.")
    if params.get("Operator"):
        raise Unsupported("The parameter Operator is not available in this cloud.")


def check_description(text: str) -> str:
    """The description of an interface. Raises InvalidParameterValue: it is too long."""
    if len(text) > MAX_DESCRIPTION:
        raise InvalidParameterValue(
            f"Value ({text[:32]}…) for parameter description is invalid. It is longer than {MAX_DESCRIPTION} characters."
        )
    return text


@ec2.writes(
    "CreateNetworkInterface",
    resources=("network-interface:*", "subnet:SubnetId", "security-group:Groups"),
    idempotent=True,
    taggable=("network-interface",),
)
def create_network_interface(context: Context, params: "CreateNetworkInterfaceRequestTypeDef") -> dict[str, Any]:
    """A new interface in a subnet, with private addresses, attached to nothing."""
    refuse_features(params)
    kind = params.get("InterfaceType", "interface")
    if kind != "interface":
        raise Unsupported(f"The interface type '{kind}' (InterfaceType) is not available in this cloud.")
    if not params.get("SubnetId"):
        raise MissingParameter("subnetId")
    subnet = SUBNET.one(context, params["SubnetId"])
    wanted = wanted_addresses(params)
    if params.get("EnablePrimaryIpv6") and not (wanted.ipv6 or wanted.ipv6_count or subnet.assign_ipv6):
        raise InvalidParameterCombination("A primary IPv6 address (EnablePrimaryIpv6) needs an IPv6 address.")
    interface = make_interface(
        context,
        subnet,
        wanted=wanted,
        groups=check_groups(context, subnet, params.get("Groups", ())),
        tags=tags_for(params, "network-interface"),
        description=check_description(params.get("Description", "")),
        primary_ipv6=params.get("EnablePrimaryIpv6", False),
    )
    result: dict[str, Any] = {"NetworkInterface": draw_interface(context, interface)}
    if token := params.get("ClientToken"):
        result["ClientToken"] = token
    return result


@ec2.writes("DeleteNetworkInterface", resources=("network-interface:NetworkInterfaceId",))
def delete_network_interface(context: Context, params: "DeleteNetworkInterfaceRequestTypeDef") -> dict[str, Any]:
    """Deletes an interface that is attached to nothing. Its Elastic IPs stay the owner's."""
    interface = own_interface(context, params["NetworkInterfaceId"])
    if interface.attachment is not None:
        raise InvalidParameterValue(f"Network interface '{interface.id}' is currently in use.")
    remove_interface(context.tx, interface)
    return {}
