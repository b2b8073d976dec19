"""What a network spec lets pass, as a pure function: the model that drivers are tested against."""

import ipaddress
from collections.abc import Iterable

from pileus.hostapi.network_spec import GroupSpec, InterfaceSpec, NetworkSpec, RuleSpec, VpcSpec

_NAMES = {"1": "icmp", "6": "tcp", "17": "udp"}


def allows(spec: NetworkSpec, source: str, destination: str, protocol: str, port: int = -1) -> bool:
    """Whether the first packet of a connection arrives, where guests reach nothing beyond the host.

    Args:
        source: an interface id, or the address of somebody outside of the cloud.
        destination: the address that the packet is sent to, public or private.
        protocol: ``tcp``, ``udp``, ``icmp`` or a number. port: the destination port, or the ICMP type.
    """
    home = _home(spec, source)
    if home is None:
        return _arrives_from_outside(spec, source, destination, protocol, port)
    vpc, sender = home
    if not any(_matches(rule, destination, vpc, protocol, port) for rule in _rules(vpc, sender, "egress")):
        return False
    for receiver in vpc.interfaces:
        if receiver.private_address == destination:
            return _enters(vpc, receiver, sender.private_address, protocol, port)
    if sender.public_address is None or not sender.to_internet:
        return False
    return _arrives_from_outside(spec, sender.public_address, destination, protocol, port)


def _arrives_from_outside(spec: NetworkSpec, source: str, destination: str, protocol: str, port: int) -> bool:
    for vpc in spec.vpcs:
        for receiver in vpc.interfaces:
            if receiver.public_address == destination and receiver.to_internet:
                return _enters(vpc, receiver, source, protocol, port)
    return False


def _enters(vpc: VpcSpec, receiver: InterfaceSpec, source: str, protocol: str, port: int) -> bool:
    return any(_matches(rule, source, vpc, protocol, port) for rule in _rules(vpc, receiver, "ingress"))


def _home(spec: NetworkSpec, interface_id: str) -> tuple[VpcSpec, InterfaceSpec] | None:
    homes = ((vpc, nic) for vpc in spec.vpcs for nic in vpc.interfaces)
    return next((home for home in homes if home[1].interface_id == interface_id), None)


def _rules(vpc: VpcSpec, interface: InterfaceSpec, direction: str) -> Iterable[RuleSpec]:
    for group in vpc.groups:
        if group.group_id in interface.groups:
            yield from group.ingress if direction == "ingress" else group.egress


def _matches(rule: RuleSpec, peer: str, vpc: VpcSpec, protocol: str, port: int) -> bool:
    return _is_peer(rule, peer, vpc.groups) and _is_service(rule, protocol, port)


def _is_peer(rule: RuleSpec, address: str, groups: Iterable[GroupSpec]) -> bool:
    if rule.group is not None:
        return any(group.group_id == rule.group and address in group.members for group in groups)
    return rule.cidr is not None and ipaddress.ip_address(address) in ipaddress.ip_network(rule.cidr, strict=False)


def _is_service(rule: RuleSpec, protocol: str, port: int) -> bool:
    if rule.protocol == "-1":
        return True
    mine = _NAMES.get(rule.protocol, rule.protocol)
    if mine != _NAMES.get(protocol, protocol):
        return False
    if mine == "icmp":
        return rule.from_port in (-1, port)
    if mine in ("tcp", "udp") and rule.from_port != -1:
        return rule.from_port <= port <= rule.to_port
    return True
