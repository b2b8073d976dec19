"""Whether security groups, network ACLs and flow logs fit together with what they filter. Part of ``consistency``."""

from collections import Counter
from collections.abc import Iterator

from pileus.records import FlowBatch, FlowLog, NetworkAcl, NetworkInterface, PrefixList, SecurityGroup, Subnet, Vpc
from pileus.store import View


def filter_problems(view: View) -> Iterator[str]:
    """What contradicts itself."""
    yield from _groups(view)
    yield from _acls(view)
    for interface in view.list(NetworkInterface):
        for group_id in interface.groups:
            if view.get(SecurityGroup, group_id) is None:
                yield f"{interface.id} is in the group {group_id}, which is gone"
    for batch in view.list(FlowBatch):
        if view.get(FlowLog, batch.flow_log_id) is None:
            yield f"{batch.id} is of the flow log {batch.flow_log_id}, which is gone"


def _groups(view: View) -> Iterator[str]:
    for group in view.list(SecurityGroup):
        if view.get(Vpc, group.vpc_id) is None:
            yield f"{group.id} is of {group.vpc_id}, which is gone"
        matches = Counter(rule.match for rule in group.rules)
        if len(matches) < len(group.rules) or len(set(group.rule_ids)) < len(group.rules):
            yield f"{group.id} has a rule twice"
        for rule in group.rules:
            peers = [rule.cidr, rule.cidr6, rule.group_id, rule.prefix_list_id]
            if sum(peer is not None for peer in peers) != 1:
                yield f"{rule.id} of {group.id} has the peers {peers}"
            if rule.group_id and rule.peering_id is None and view.get(SecurityGroup, rule.group_id) is None:
                yield f"{rule.id} of {group.id} names {rule.group_id}, which is gone"
            if rule.prefix_list_id and view.get(PrefixList, rule.prefix_list_id) is None:
                yield f"{rule.id} of {group.id} names {rule.prefix_list_id}, which is gone"


def _acls(view: View) -> Iterator[str]:
    defaults = Counter(acl.vpc_id for acl in view.list(NetworkAcl) if acl.is_default)
    for vpc in view.list(Vpc):
        if defaults[vpc.id] != 1:
            yield f"{vpc.id} has {defaults[vpc.id]} default network ACLs"
    standing = Counter(subnet_id for acl in view.list(NetworkAcl) for subnet_id in acl.subnet_ids)
    for subnet in view.list(Subnet):
        if standing.pop(subnet.id, 0) != 1:
            yield f"{subnet.id} has not exactly one network ACL"
    yield from (f"a network ACL stands before {subnet_id}, which is gone" for subnet_id in standing)
    for acl in view.list(NetworkAcl):
        numbers = Counter((entry.number, entry.egress) for entry in acl.entries)
        if len(numbers) < len(acl.entries):
            yield f"{acl.id} has two entries of one number"
        if not {(32767, True), (32767, False)} <= numbers.keys():
            yield f"{acl.id} does not deny what no entry matches"
