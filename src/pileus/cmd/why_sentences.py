"""Explanations of Reachability Analyzer in words: what stops the packet, and what would let it through.

Used by ``why_unreachable``.
"""

from collections.abc import Callable, Mapping
from typing import Any

Explanation = Mapping[str, Any]
Teller = Callable[[Explanation, int], str]


def sentence(explanation: Explanation, port: int) -> str:
    """One explanation as a sentence. ``port``: what was asked for; a packet to another one is an answer."""
    teller = _TELLERS.get(explanation["ExplanationCode"])
    if teller is None:
        return f"Reachability Analyzer says {explanation['ExplanationCode']}."
    return teller(explanation, port)


def name_of(component: Mapping[str, Any]) -> str:
    """A component by its id, with its Name tag where it has one."""
    return f"{component['Id']} ({component['Name']})" if "Name" in component else str(component["Id"])


def _part(explanation: Explanation, member: str, otherwise: str) -> str:
    return name_of(explanation[member]) if member in explanation else otherwise


def _traffic(explanation: Explanation, port: int) -> str:
    """What is stopped: ``tcp port 80 from 10.0.0.5``."""
    where = "to" if explanation["Direction"] == "egress" else "from"
    what = "/".join(explanation["Protocols"])
    is_answer = explanation["Port"] != port
    ports = f"answers on {what} ports 1024-65535" if is_answer else f"{what} port {explanation['Port']}"
    return f"{ports} {where} {explanation['Address']}"


def _bound(explanation: Explanation) -> str:
    return "outbound" if explanation["Direction"] == "egress" else "inbound"


def _groups(explanation: Explanation) -> str:
    names = [name_of(one) for one in explanation["SecurityGroups"]]
    return f"the security group{'s' * (len(names) > 1)} {', '.join(names)}" if names else "no security group"


def _group_rules(explanation: Explanation, port: int) -> str:
    bound, traffic = _bound(explanation), _traffic(explanation, port)
    return (
        f"no {bound} rule of {_groups(explanation)} at {_part(explanation, 'NetworkInterface', 'the interface')} allows "
        f"{traffic}; an {bound} rule for it would."
    )


def _no_group_rules(explanation: Explanation, port: int) -> str:
    bound, traffic = _bound(explanation), _traffic(explanation, port)
    return (
        f"{_groups(explanation)} at {_part(explanation, 'NetworkInterface', 'the interface')} without any {bound} rule "
        f"lets nothing pass; an {bound} rule for {traffic} would let it through."
    )


def _acl(explanation: Explanation, port: int) -> str:
    bound, traffic = _bound(explanation), _traffic(explanation, port)
    acl = f"the network ACL {name_of(explanation['Acl'])} of {_part(explanation, 'Subnet', 'the subnet')}"
    number = explanation.get("AclRule", {}).get("RuleNumber", 32767)
    if number >= 32767:
        return f"no {bound} entry of {acl} allows {traffic}; an {bound} entry that allows it would let it through."
    return (
        f"the {bound} entry {number} of {acl} denies {traffic}; an entry that allows it with a lower number, or none "
        "that denies it, would let it through."
    )


def _no_route(explanation: Explanation, _: int) -> str:
    where = explanation.get("Address") or _part(explanation, "Destination", "the destination")
    return (
        f"the route table {_part(explanation, 'RouteTable', 'of the subnet')} of {_part(explanation, 'Subnet', 'it')} has "
        f"no route to {where}; a route to it would lead there."
    )


def _route(explanation: Explanation) -> tuple[str, str]:
    """A route's destination and target."""
    route = explanation.get("RouteTableRoute", {})
    where = route.get("DestinationCidr") or route.get("DestinationPrefixListId", "the destination")
    targets = (value for name, value in route.items() if name.endswith("Id") and name != "DestinationPrefixListId")
    return where, next(targets, "its target")


def _dead_route(explanation: Explanation, _: int) -> str:
    where, target = _route(explanation)
    return (
        f"the route to {where} in {_part(explanation, 'RouteTable', 'the route table')} leads to {target}, which is gone "
        "or does not work; a route to something that works would do."
    )


def _other_route(explanation: Explanation, _: int) -> str:
    where, target = _route(explanation)
    return (
        f"the route to {where} by {target} in {_part(explanation, 'RouteTable', 'the route table')} is not for this "
        "address; a route for it by the same target would lead there."
    )


def _better_route(explanation: Explanation, _: int) -> str:
    where, target = _route(explanation)
    return (
        f"a more specific route in {_part(explanation, 'RouteTable', 'the route table')} goes before the one to {where} by "
        f"{target}; without it, the packet would go there."
    )


def _stopped(explanation: Explanation, _: int) -> str:
    return f"{_part(explanation, 'Component', 'the instance')} is not running; started, it would send and receive."


def _unattached(explanation: Explanation, _: int) -> str:
    return (
        f"{_part(explanation, 'NetworkInterface', 'the interface')} is attached to nothing; attached to a running "
        "instance, it would send and receive."
    )


def _no_public_source(explanation: Explanation, _: int) -> str:
    return (
        f"{_part(explanation, 'NetworkInterface', 'the sender')} has no public address for "
        f"{explanation.get('Address', 'its own')}, so nothing of it passes the internet gateway "
        f"{_part(explanation, 'InternetGateway', 'of its VPC')}; an Elastic IP would let it through, or a route to a NAT "
        "gateway instead."
    )


def _no_public_destination(explanation: Explanation, _: int) -> str:
    return (
        f"{explanation.get('Address', 'the destination')} is not the public address of anything that runs behind the "
        f"internet gateway {_part(explanation, 'InternetGateway', 'of its VPC')}; with an Elastic IP at a running "
        "instance, and such a gateway attached, it would be reached by that."
    )


def _private_range(explanation: Explanation, _: int) -> str:
    return (
        f"internet gateways do not carry {explanation.get('Address', 'private addresses')}, which is private; a public "
        "address, or a VPC peering connection with a route to it, would do."
    )


def _check(explanation: Explanation, _: int) -> str:
    what = "from" if explanation.get("Direction") == "egress" else "for"
    verb = "sends" if what == "from" else "takes"
    return (
        f"{_part(explanation, 'NetworkInterface', 'the interface')} {verb} only what is {what} its own addresses "
        f"{', '.join(explanation.get('Addresses', ()))}; with its source/destination check off it would pass."
    )


def _peering(explanation: Explanation, _: int) -> str:
    return (
        f"the peering {_part(explanation, 'VpcPeeringConnection', '')} carries only packets between its two VPCs, and this "
        f"{explanation.get('PacketField', 'address').replace('-', ' ')} is not in {', '.join(explanation.get('Cidrs', ()))}; "
        "a peering with the VPC that has the address would do."
    )


def _endpoint(explanation: Explanation, _: int) -> str:
    return f"the endpoint {_part(explanation, 'VpcEndpoint', '')} takes tcp only; over tcp it would be reached."


def _nat(explanation: Explanation, _: int) -> str:
    return (
        f"the answers would go by the NAT gateway {_part(explanation, 'NatGateway', '')}, which sends them from its own "
        "address; a route by the way that the packets come would bring them back."
    )


def _nowhere(explanation: Explanation, _: int) -> str:
    if "NatGateway" in explanation:
        return (
            f"the NAT gateway {name_of(explanation['NatGateway'])} takes no connections from others; the address of what "
            "is behind it would be reached directly, if at all."
        )
    where = explanation.get("Address", "the packet's destination")
    return (
        f"nothing that could be reached this way has {where}; an interface with that address, or a route to where it is, "
        "would let it arrive."
    )


def _filtered(explanation: Explanation, _: int) -> str:
    return f"the way leads by {_part(explanation, 'Component', 'something')} other than asked for; without that it is open."


_TELLERS: Mapping[str, Teller] = {
    "BAD_STATE": _stopped,
    "BAD_STATE_ATTACHMENT": _unattached,
    "BAD_STATE_ROUTE": _dead_route,
    "CANNOT_ROUTE": _other_route,
    "COMPONENT_FILTER_RESTRICTION": _filtered,
    "ENI_SG_RULES_MISMATCH": _group_rules,
    "ENI_SOURCE_DEST_CHECK_RESTRICTION": _check,
    "IGW_DESTINATION_ADDRESS_NOT_IN_RFC1918_EGRESS": _private_range,
    "IGW_DESTINATION_ADDRESS_NOT_IN_RFC6598_EGRESS": _private_range,
    "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS": _no_public_destination,
    "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS": _no_public_source,
    "IGW_SOURCE_ADDRESS_NOT_IN_RFC1918_INGRESS": _private_range,
    "IGW_SOURCE_ADDRESS_NOT_IN_RFC6598_INGRESS": _private_range,
    "MORE_SPECIFIC_ROUTE": _better_route,
    "NGW_SOURCE_ADDRESS_REASSIGN": _nat,
    "NO_POSSIBLE_DESTINATION": _nowhere,
    "NO_ROUTE_TO_DESTINATION": _no_route,
    "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR": _peering,
    "SG_HAS_NO_RULES": _no_group_rules,
    "SUBNET_ACL_RESTRICTION": _acl,
    "VPCE_GATEWAY_PROTOCOL_RESTRICTION": _endpoint,
}
