"""The attributes of network interfaces: described one by one, changed, set back to their default."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Instance, NetworkInterface, Subnet
from pileus.records.instance import State
from pileus.services.ec2.address_binding import detach_public_address, give_public_address
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.interface_creation import check_groups
from pileus.services.ec2.interface_drawing import attachment_of, draw_groups
from pileus.services.ec2.network_interfaces import check_description, own_interface, refuse_features
from pileus.services.ec2.resources import NETWORK_INTERFACE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeNetworkInterfaceAttributeRequestTypeDef,
        ModifyNetworkInterfaceAttributeRequestTypeDef,
        ResetNetworkInterfaceAttributeRequestTypeDef,
    )


@ec2.reads("DescribeNetworkInterfaceAttribute", resources=("network-interface:NetworkInterfaceId",))
def describe_network_interface_attribute(
    context: Context, params: "DescribeNetworkInterfaceAttributeRequestTypeDef"
) -> dict[str, Any]:
    """One attribute of an interface."""
    interface = NETWORK_INTERFACE.one(context, params["NetworkInterfaceId"])
    attributes: Mapping[str, Mapping[str, Any]] = {
        "associatePublicIpAddress": {"AssociatePublicIpAddress": interface.auto_public},
        "attachment": {"Attachment": attached} if (attached := attachment_of(interface)) else {},
        "description": {"Description": {"Value": interface.description}},
        "groupSet": {"Groups": draw_groups(context, interface)},
        "sourceDestCheck": {"SourceDestCheck": {"Value": interface.source_dest_check}},
    }
    name = params.get("Attribute")
    if name is None:
        raise MissingParameter("attribute")
    return {"NetworkInterfaceId": interface.id, **attribute(attributes, name)}


@ec2.writes(
    "ModifyNetworkInterfaceAttribute", resources=("network-interface:NetworkInterfaceId", "security-group:Groups")
)
def modify_network_interface_attribute(
    context: Context, params: "ModifyNetworkInterfaceAttributeRequestTypeDef"
) -> dict[str, Any]:
    """Changes one attribute of an interface; what it filters and lets through changes in a running guest at once."""
    refuse_features(params)
    interface = own_interface(context, params["NetworkInterfaceId"])
    given = [name for name in _CHANGES if params.get(name) is not None]
    if not given:
        raise InvalidParameterCombination("No attributes specified.")
    if len(given) > 1:
        raise InvalidParameterCombination(f"Fields for multiple attribute types specified: {', '.join(given)}")
    values: Mapping[str, Any] = {**params}
    context.tx.put(_CHANGES[given[0]](context, interface, values[given[0]]))
    return {}


def _change_description(_: Context, interface: NetworkInterface, given: Mapping[str, Any]) -> NetworkInterface:
    return replace(interface, description=check_description(given.get("Value", "")))


def _change_check(_: Context, interface: NetworkInterface, given: Mapping[str, Any]) -> NetworkInterface:
    if given.get("Value") is None:
        raise MissingParameter("sourceDestCheck.value")
    return replace(interface, source_dest_check=given["Value"])


def _change_groups(context: Context, interface: NetworkInterface, given: list[str]) -> NetworkInterface:
    if not given:
        raise InvalidParameterValue("An interface must be in at least one security group (groupSet).")
    subnet = context.view.get(Subnet, interface.subnet_id)
    assert subnet is not None, f"{interface.id} is in a subnet that is gone"
    return replace(interface, groups=check_groups(context, subnet, given))


def _change_attachment(_: Context, interface: NetworkInterface, given: Mapping[str, Any]) -> NetworkInterface:
    attachment = interface.attachment
    named = given.get("AttachmentId")
    if named is None:
        raise MissingParameter("attachment.attachmentId")
    refuse_features(given)
    if attachment is None or attachment.id != named:
        raise NotFound(f"The attachment ID '{named}' does not exist", code="InvalidAttachmentID.NotFound")
    if given.get("DeleteOnTermination") is None:
        return interface
    return replace(interface, attachment=replace(attachment, delete_on_termination=given["DeleteOnTermination"]))


def _change_primary_ipv6(_: Context, interface: NetworkInterface, given: bool) -> NetworkInterface:
    if not given and interface.primary_ipv6:
        raise InvalidParameterValue("A primary IPv6 address (EnablePrimaryIpv6) cannot be made an ordinary one again.")
    if given and not interface.ipv6_addresses:
        raise InvalidParameterCombination(f"The network interface '{interface.id}' has no IPv6 address.")
    return replace(interface, primary_ipv6=given)


def _change_public(context: Context, interface: NetworkInterface, given: bool) -> NetworkInterface:
    """A public address that EC2 gives to the primary interface of an instance, now and at every start."""
    if given and (interface.attachment is None or interface.attachment.device_index != 0):
        raise InvalidParameterCombination(
            "A public address (AssociatePublicIpAddress) is given to the primary network interface of an instance only."
        )
    changed = context.tx.put(replace(interface, auto_public=given))
    if given and changed.public_address is None and _is_running(context, changed):
        return give_public_address(context, changed)
    if not given and changed.public_address is not None and changed.primary.address_id is None:
        return detach_public_address(context.tx, changed)
    return changed


def _is_running(context: Context, interface: NetworkInterface) -> bool:
    instance = context.view.get(Instance, interface.instance_id) if interface.instance_id else None
    return instance is not None and instance.state in {State.PENDING, State.RUNNING}


_CHANGES: Mapping[str, Callable[[Context, NetworkInterface, Any], NetworkInterface]] = {
    "Description": _change_description,
    "SourceDestCheck": _change_check,
    "Groups": _change_groups,
    "Attachment": _change_attachment,
    "EnablePrimaryIpv6": _change_primary_ipv6,
    "AssociatePublicIpAddress": _change_public,
}


@ec2.writes("ResetNetworkInterfaceAttribute", resources=("network-interface:NetworkInterfaceId",))
def reset_network_interface_attribute(
    context: Context, params: "ResetNetworkInterfaceAttributeRequestTypeDef"
) -> dict[str, Any]:
    """Source and destination checking is on again."""
    interface = own_interface(context, params["NetworkInterfaceId"])
    context.tx.put(replace(interface, source_dest_check=True))
    return {}
