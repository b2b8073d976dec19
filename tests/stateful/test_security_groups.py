"""Random changes to the rules of two groups against a dictionary: what is listed is what was authorised and not revoked,
under the same ids and with the words that were said last, and never more than the quota allows.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pileus.base.config import Config
from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.records import PrefixList
from pileus.testing.consistency_filters import filter_problems
from pileus.testing.in_process import DirectCloud

GROUPS = ("web", "db")
LISTS = {"offices": "IPv4", "partners": "IPv6"}
MOST = 25
"""Entries that a prefix list may have: as many rules it counts for."""
QUOTA = 60
OUT = ("-1", -1, -1, "0.0.0.0/0")

ports = st.sampled_from(
    [
        ("tcp", 22, 22),
        ("tcp", 1, 1024),
        ("udp", 53, 53),
        ("icmp", 8, -1),
        ("icmpv6", 128, 0),
        ("50", -1, -1),
        ("-1", -1, -1),
    ]
)
peers = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32", *GROUPS, *LISTS])
several = st.lists(peers, min_size=1, max_size=3, unique=True)
groups = st.sampled_from(GROUPS)
sides = st.sampled_from(["Ingress", "Egress"])
words = st.sampled_from([None, "for tests", "a-z (1)"])


def weight(peer, family):
    """What a rule with this peer takes of the quota of a family."""
    if peer in GROUPS:
        return 1
    if peer in LISTS:
        return MOST if LISTS[peer] == family else 0
    return int((":" in peer) == (family == "IPv6"))


def overfull(before, after):
    """Whether rules became more than the quota allows, in a group, a direction and a family."""
    for group in GROUPS:
        for side in ("Ingress", "Egress"):
            for family in ("IPv4", "IPv6"):
                was, is_ = (
                    sum(weight(key[5], family) for key in some if key[:2] == (group, side)) for some in (before, after)
                )
                if is_ > max(was, QUOTA):
                    return True
    return False


class Rules(RuleBasedStateMachine):
    """The model: (group, side, protocol, from, to, peer) of every rule, with its id and its description."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-"))
        self.cloud = DirectCloud.open(self.directory, Config())
        self.lists = {name: self.make_list(name, family) for name, family in LISTS.items()}
        self.ids = {}
        self.model = {}
        for name in GROUPS:
            self.create(name)

    def teardown(self):
        self.cloud.close()
        self.loop.close()
        shutil.rmtree(self.directory)

    def make_list(self, name, family):
        fields = {"name": name, "address_family": family, "max_entries": MOST, "entries": ()}
        made = PrefixList(id=new_id("pl"), account=self.cloud.account, region=self.cloud.region, **fields)
        return self.cloud.store.transact(lambda tx: tx.put(made)).id

    def create(self, name):
        self.ids[name] = self.call("CreateSecurityGroup", GroupName=name, Description=name)["GroupId"]
        self.model = {key: value for key, value in self.model.items() if key[0] != name}
        (out,) = (one for one in self.listed() if one["GroupId"] == self.ids[name])
        self.model[(name, "Egress", *OUT)] = (out["SecurityGroupRuleId"], None)

    def call(self, operation, **params):
        return self.loop.run_until_complete(self.cloud.call("ec2", operation, **params))

    def refused(self, operation, **params):
        try:
            self.call(operation, **params)
        except ServiceError as error:
            return error.code
        return None

    def permission(self, port, among, description=None):
        """One permission of several peers."""
        said = {} if description is None else {"Description": description}
        wanted = {"IpRanges": [], "Ipv6Ranges": [], "UserIdGroupPairs": [], "PrefixListIds": []}
        for peer in among:
            if peer in GROUPS:
                wanted["UserIdGroupPairs"].append({"GroupId": self.ids[peer], **said})
            elif peer in LISTS:
                wanted["PrefixListIds"].append({"PrefixListId": self.lists[peer], **said})
            elif ":" in peer:
                wanted["Ipv6Ranges"].append({"CidrIpv6": peer, **said})
            else:
                wanted["IpRanges"].append({"CidrIp": peer, **said})
        protocol, first, last = port
        return [{"IpProtocol": protocol, "FromPort": first, "ToPort": last, **wanted}]

    @rule(group=groups, side=sides, port=ports, among=several, description=words)
    def authorize(self, group, side, port, among, description):
        new = {(group, side, *port, peer) for peer in among}
        params = {"GroupId": self.ids[group], "IpPermissions": self.permission(port, among, description)}
        if new & self.model.keys():
            wanted = "InvalidPermission.Duplicate"  # and none of the others is added
        elif overfull(self.model, [*self.model, *new]):
            wanted = "RulesPerSecurityGroupLimitExceeded"
        else:
            made = self.call(f"AuthorizeSecurityGroup{side}", **params)["SecurityGroupRules"]
            assert {self.known(one) for one in made} == new
            self.model |= {self.known(one): (one["SecurityGroupRuleId"], description) for one in made}
            return
        assert self.refused(f"AuthorizeSecurityGroup{side}", **params) == wanted

    @rule(group=groups, side=sides, port=ports, among=several)
    def revoke(self, group, side, port, among):
        """In the default VPC, what is not there is told and not refused."""
        named = {(group, side, *port, peer) for peer in among}
        permissions = self.permission(port, among)
        answer = self.call(f"RevokeSecurityGroup{side}", GroupId=self.ids[group], IpPermissions=permissions)
        gone = {one["SecurityGroupRuleId"] for one in answer["RevokedSecurityGroupRules"]}
        assert gone == {self.model[key][0] for key in named & self.model.keys()}
        assert bool(answer["UnknownIpPermissions"]) == bool(named - self.model.keys())
        self.model = {key: value for key, value in self.model.items() if key not in named}

    @rule(data=st.data())
    def revoke_by_id(self, data):
        if self.model:
            key = data.draw(st.sampled_from(sorted(self.model)))
            id_, _ = self.model.pop(key)
            group, side = key[:2]
            self.call(f"RevokeSecurityGroup{side}", GroupId=self.ids[group], SecurityGroupRuleIds=[id_])

    @rule(group=groups, side=sides, port=ports, among=several, description=words)
    def describe(self, group, side, port, among, description):
        """All or none of the rules get the words."""
        named = {(group, side, *port, peer) for peer in among}
        permissions = self.permission(port, among, description)
        operation = f"UpdateSecurityGroupRuleDescriptions{side}"
        code = self.refused(operation, GroupId=self.ids[group], IpPermissions=permissions)
        if named <= self.model.keys():
            assert code is None
            self.model |= {key: (self.model[key][0], description) for key in named}
        else:
            assert code == "InvalidPermission.NotFound"

    @rule(data=st.data(), port=ports, peer=peers, description=words)
    def modify(self, data, port, peer, description):
        if not self.model:
            return
        before = data.draw(st.sampled_from(sorted(self.model)))
        group, side = before[:2]
        wanted = (group, side, *port, peer)
        update = {"IpProtocol": port[0], "FromPort": port[1], "ToPort": port[2], **self.peer(peer)}
        if description is not None:
            update["Description"] = description
        rule_id = self.model[before][0]
        code = self.refused(
            "ModifySecurityGroupRules",
            GroupId=self.ids[group],
            SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": update}],
        )
        others = {key: value for key, value in self.model.items() if key != before}
        if wanted in others:
            assert code == "InvalidPermission.Duplicate"
        elif overfull(self.model, [*others, wanted]):
            assert code == "RulesPerSecurityGroupLimitExceeded"
        else:
            assert code is None
            self.model = {**others, wanted: (rule_id, description)}

    def peer(self, peer):
        if peer in GROUPS:
            return {"ReferencedGroupId": self.ids[peer]}
        if peer in LISTS:
            return {"PrefixListId": self.lists[peer]}
        return {"CidrIpv6" if ":" in peer else "CidrIpv4": peer}

    @rule(group=groups)
    def delete(self, group):
        """Only a group that no other names can go; then it comes again, new."""
        used = any(peer == group and owner != group for owner, *_, peer in self.model)
        code = self.refused("DeleteSecurityGroup", GroupId=self.ids[group])
        assert code == ("DependencyViolation" if used else None)
        if code is None:
            self.create(group)

    def listed(self):
        wanted = [{"Name": "group-id", "Values": list(self.ids.values())}]
        return self.call("DescribeSecurityGroupRules", Filters=wanted)["SecurityGroupRules"]

    def known(self, told):
        """A rule of an answer as the model has it."""
        names = {id_: name for name, id_ in (*self.ids.items(), *self.lists.items())}
        referenced = told.get("ReferencedGroupInfo", {}).get("GroupId") or told.get("PrefixListId")
        side = "Egress" if told["IsEgress"] else "Ingress"
        peer = names[referenced] if referenced else told.get("CidrIpv4") or told["CidrIpv6"]
        return names[told["GroupId"]], side, told["IpProtocol"], told["FromPort"], told["ToPort"], peer

    @invariant()
    def records_fit_together(self):
        assert list(filter_problems(self.cloud.store.view())) == []

    @invariant()
    def what_is_listed_is_what_was_said(self):
        listed = self.listed()
        told = {self.known(one): (one["SecurityGroupRuleId"], one.get("Description")) for one in listed}
        assert len(told) == len(listed)
        assert told == self.model


TestRules = Rules.TestCase
TestRules.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
