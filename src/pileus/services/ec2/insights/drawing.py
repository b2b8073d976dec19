"""How the answer to a path is shown: components with ARNs and names, headers, rules, explanations."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pileus.operations.context import Context
from pileus.records.network_acl import AclEntry
from pileus.records.paths import Answer, Packet, Question, Reason, Step
from pileus.records.route_table import Route
from pileus.records.security_group import SecurityGroupRule
from pileus.services.ec2.resources import RESOURCES

_BY_PREFIX = {resource.prefix: resource for resource in RESOURCES}
_NUMBERS = {"tcp": "6", "udp": "17"}
_WORDS = {"-1": "all", "1": "icmp", "6": "tcp", "17": "udp"}
_FILTERS = frozenset({"ENI_SG_RULES_MISMATCH", "SG_HAS_NO_RULES", "SUBNET_ACL_RESTRICTION"})
_ROUTING = frozenset({"NO_ROUTE_TO_DESTINATION", "CANNOT_ROUTE", "MORE_SPECIFIC_ROUTE"})
_ANY_PORT = {"From": 0, "To": 65535}
_TARGETS = {
    "cagw": "CarrierGatewayId",
    "eigw": "EgressOnlyInternetGatewayId",
    "eni": "NetworkInterfaceId",
    "nat": "NatGatewayId",
    "pcx": "VpcPeeringConnectionId",
}


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when an answer is drawn."""

    context: Context
    question: Question

    def draw(self, answer: Answer) -> dict[str, Any]:
        """The members of NetworkInsightsAnalysis that depend on what was found."""
        drawn: dict[str, Any] = {
            "NetworkPathFound": answer.reachable,
            "ForwardPathComponents": self._path(
                answer, answer.forward, self.question.source, self.question.destination
            ),
        }
        if answer.back:
            drawn["ReturnPathComponents"] = self._path(
                answer, answer.back, self.question.destination, self.question.source
            )
        if answer.reasons:
            drawn["Explanations"] = [self._explanation(reason) for reason in answer.reasons]
        return drawn

    def _path(
        self, answer: Answer, steps: Sequence[Step], source: str | None, destination: str | None
    ) -> list[dict[str, Any]]:
        """The steps, with the instances at the ends where the path was asked for between instances."""
        drawn = [self._step(answer, step) for step in steps]
        if drawn and source is not None and source.startswith("i-"):
            drawn.insert(0, {"Component": self.component(source)})
        if drawn and destination is not None and destination.startswith("i-"):
            last = steps[-1]
            if last.attached_to == destination and last.outbound is None:
                drawn.append({"Component": self.component(destination)})
        return [{"SequenceNumber": number, **step} for number, step in enumerate(drawn, 1)]

    def _step(self, answer: Answer, step: Step) -> dict[str, Any]:
        places = {
            "AttachedTo": step.attached_to,
            "Subnet": step.subnet,
            "Vpc": step.vpc,
            "SourceVpc": step.source_vpc,
            "DestinationVpc": step.destination_vpc,
        }
        drawn: dict[str, Any] = {"Component": self.component(step.component)}
        drawn |= {name: self.component(id_) for name, id_ in places.items() if id_}
        if step.inbound is not None:
            drawn["InboundHeader"] = self._header(answer, step.inbound)
        if step.outbound is not None:
            drawn["OutboundHeader"] = self._header(answer, step.outbound)
        if step.acl_entry is not None:
            drawn["AclRule"] = _acl_rule(step.acl_entry)
        if step.rule is not None:
            drawn["SecurityGroupRule"] = _group_rule(step.rule)
        if step.route is not None:
            drawn["RouteTableRoute"] = _route(step.route, "active")
        return drawn

    def _header(self, answer: Answer, packet: Packet) -> dict[str, Any]:
        """A packet; what the question leaves open is shown as a whole range."""
        question, asked = self.question, answer.asked
        is_answer = packet.source_port == asked.destination_port
        open_ports = question.at_source.destination_ports is None and question.at_destination.destination_ports is None
        server = _ANY_PORT if open_ports else _port(asked.destination_port)
        client = _ANY_PORT if question.at_source.source_ports is None else _port(asked.source_port)
        anybody = set[str]()
        if question.source.startswith("igw-") and question.at_source.source is None:
            anybody.add(asked.source)
        if question.destination is not None and question.destination.startswith("igw-"):
            filters = (question.at_source.destination, question.at_destination.destination)
            anybody |= {asked.destination} if not any(filters) else set()
        return {
            "Protocol": _NUMBERS[packet.protocol],
            "SourceAddresses": ["0.0.0.0/0" if packet.source in anybody else f"{packet.source}/32"],
            "DestinationAddresses": ["0.0.0.0/0" if packet.destination in anybody else f"{packet.destination}/32"],
            "SourcePortRanges": [server if is_answer else client],
            "DestinationPortRanges": [client if is_answer else server],
        }

    def _explanation(self, reason: Reason) -> dict[str, Any]:
        drawn: dict[str, Any] = {"ExplanationCode": reason.code}
        if reason.direction is not None:
            drawn["Direction"] = reason.direction
        for name, ids in reason.parts.items():
            drawn[name] = self.component(ids) if isinstance(ids, str) else [self.component(id_) for id_ in ids]
        drawn |= {name: value if isinstance(value, str) else list(value) for name, value in reason.shown.items()}
        if reason.code in _FILTERS:
            outwards = reason.direction == "egress"
            drawn["Address"] = reason.packet.destination if outwards else reason.packet.source
            drawn["Port"] = reason.packet.destination_port
            drawn["Protocols"] = [reason.packet.protocol]
        if reason.code in _ROUTING and self.question.destination is not None and not reason.answer:
            drawn["Destination"] = self.component(self.question.destination)
        if reason.acl_entry is not None:
            drawn["AclRule"] = _acl_rule(reason.acl_entry)
        if reason.route is not None:
            drawn["RouteTableRoute"] = _route(
                reason.route, "blackhole" if reason.code == "BAD_STATE_ROUTE" else "active"
            )
        return drawn

    def component(self, id_: str) -> dict[str, Any]:
        """A component as AWS names it: its name is its Name tag."""
        resource = _BY_PREFIX[id_.partition("-")[0]]
        record = self.context.view.get(resource.kind, id_)
        account = record.account if record is not None else self.question.account
        drawn = {"Id": id_, "Arn": f"arn:aws:ec2:{self.context.region}:{account}:{resource.type}/{id_}"}
        if record is not None and record.account == self.question.account and "Name" in record.tags:
            drawn["Name"] = record.tags["Name"]
        return drawn


def _port(port: int) -> dict[str, int]:
    return {"From": port, "To": port}


def _range(low: int, high: int) -> dict[str, int]:
    return dict(_ANY_PORT) if low == -1 else {"From": low, "To": high}


def _acl_rule(entry: AclEntry) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "Cidr": entry.cidr,
        "Egress": entry.egress,
        "Protocol": _WORDS.get(entry.protocol, entry.protocol),
        "RuleAction": entry.action,
        "RuleNumber": entry.number,
    }
    if entry.protocol in {"6", "17"}:
        drawn["PortRange"] = _range(entry.from_port, entry.to_port)
    return drawn


def _group_rule(rule: SecurityGroupRule) -> dict[str, Any]:
    """A rule; of one that names a group, ``SecurityGroupId`` is the group that is named."""
    drawn: dict[str, Any] = {
        "Direction": "egress" if rule.egress else "ingress",
        "Protocol": _WORDS.get(rule.protocol, rule.protocol),
    }
    peers = {"Cidr": rule.cidr, "SecurityGroupId": rule.group_id, "PrefixListId": rule.prefix_list_id}
    drawn |= {name: peer for name, peer in peers.items() if peer}
    if rule.protocol in {"tcp", "udp", "6", "17"}:
        drawn["PortRange"] = _range(rule.from_port, rule.to_port)
    return drawn


def _route(route: Route, state: str) -> dict[str, Any]:
    is_list = route.destination.startswith("pl-")
    return {
        "DestinationPrefixListId" if is_list else "DestinationCidr": route.destination,
        _TARGETS.get(route.target.partition("-")[0], "GatewayId"): route.target,
        "Origin": route.origin,
        "State": state,
    }
