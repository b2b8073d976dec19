"""Random changes to the entries and associations of network ACLs against dictionaries."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pileus.base.config import Config
from pileus.base.errors import ServiceError
from pileus.testing.consistency_filters import filter_problems
from pileus.testing.in_process import DirectCloud

QUOTA = 20
"""Of a list, a direction and a family, with the entry that denies the rest."""

numbers = st.integers(1, 30) | st.sampled_from([100, 32766])
bad_numbers = st.sampled_from([-1, 0, 32767, 32768])
cidrs = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "10.1.2.0/24", "::/0", "2001:db8::/32"])
kinds = st.sampled_from(
    [
        {"Protocol": "-1"},
        {"Protocol": "6", "PortRange": {"From": 22, "To": 443}},
        {"Protocol": "17", "PortRange": {"From": 0, "To": 65535}},
        {"Protocol": "1", "IcmpTypeCode": {"Type": 3, "Code": -1}},
        {"Protocol": "47"},
    ]
)
lists = st.integers(0, 2)
actions = st.sampled_from(["allow", "deny"])


class Acls(RuleBasedStateMachine):
    """The model: entries by list, direction and number; the list of every subnet."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-"))
        self.cloud = DirectCloud.open(self.directory, Config())
        (default,) = self.listed()
        vpc = default["VpcId"]
        made = [self.call("CreateNetworkAcl", VpcId=vpc)["NetworkAcl"]["NetworkAclId"] for _ in range(2)]
        self.ids = [default["NetworkAclId"], *made]
        self.subnets = {one["SubnetId"]: self.ids[0] for one in default["Associations"]}
        self.entries = {
            (acl, one["Egress"], one["RuleNumber"]): one for acl, one in self.told() if one["RuleNumber"] < 32767
        }

    def teardown(self):
        self.cloud.close()
        self.loop.close()
        shutil.rmtree(self.directory)

    def call(self, operation, **params):
        return self.loop.run_until_complete(self.cloud.call("ec2", operation, **params))

    def refused(self, operation, **params):
        try:
            self.call(operation, **params)
        except ServiceError as error:
            return error.code
        return None

    def listed(self):
        return self.call("DescribeNetworkAcls")["NetworkAcls"]

    def told(self):
        return [(acl["NetworkAclId"], one) for acl in self.listed() for one in acl["Entries"]]

    def entry(self, number, kind, cidr, action, *, egress):
        member = "Ipv6CidrBlock" if ":" in cidr else "CidrBlock"
        return {"RuleNumber": number, "Egress": egress, "RuleAction": action, **kind, member: cidr}

    def full(self, acl, entry, *, beside=None):
        """Whether there is no room for an entry of that family."""
        alike = [
            key
            for key, one in self.entries.items()
            if key[:2] == (acl, entry["Egress"]) and key != beside and ("CidrBlock" in one) == ("CidrBlock" in entry)
        ]
        denying = int("CidrBlock" in entry)  # of a VPC without IPv6 a list has no last entry for that
        return len(alike) + denying >= QUOTA

    @rule(which=lists, number=numbers, kind=kinds, cidr=cidrs, action=actions, egress=st.booleans())
    def create(self, which, number, kind, cidr, action, egress):
        acl, entry = self.ids[which], self.entry(number, kind, cidr, action, egress=egress)
        code = self.refused("CreateNetworkAclEntry", NetworkAclId=acl, **entry)
        key = (acl, egress, number)
        if key in self.entries:
            assert code == (None if self.entries[key] == entry else "NetworkAclEntryAlreadyExists")
        elif self.full(acl, entry):
            assert code == "NetworkAclEntryLimitExceeded"
        else:
            assert code is None
            self.entries[key] = entry

    @rule(which=lists, egress=st.booleans(), first=st.integers(1, 5))
    def create_many(self, which, egress, first):
        """Often enough, one is full."""
        for number in range(first, first + 20):
            self.create(which, number, {"Protocol": "-1"}, "10.0.0.0/8", "allow", egress)

    @rule(which=lists, number=numbers, kind=kinds, cidr=cidrs, action=actions, egress=st.booleans())
    def replace(self, which, number, kind, cidr, action, egress):
        acl, entry = self.ids[which], self.entry(number, kind, cidr, action, egress=egress)
        code = self.refused("ReplaceNetworkAclEntry", NetworkAclId=acl, **entry)
        key = (acl, egress, number)
        if key not in self.entries:
            assert code == "InvalidNetworkAclEntry.NotFound"
        elif self.full(acl, entry, beside=key):
            assert code == "NetworkAclEntryLimitExceeded"
        else:
            assert code is None
            self.entries[key] = entry

    @rule(which=lists, number=numbers, egress=st.booleans())
    def delete(self, which, number, egress):
        acl = self.ids[which]
        code = self.refused("DeleteNetworkAclEntry", NetworkAclId=acl, RuleNumber=number, Egress=egress)
        there = self.entries.pop((acl, egress, number), None)
        assert code == (None if there else "InvalidNetworkAclEntry.NotFound")

    @rule(which=lists, number=bad_numbers, egress=st.booleans())
    def numbers_out_of_range(self, which, number, egress):
        entry = self.entry(number, {"Protocol": "-1"}, "10.0.0.0/8", "allow", egress=egress)
        for operation in ("CreateNetworkAclEntry", "ReplaceNetworkAclEntry"):
            assert self.refused(operation, NetworkAclId=self.ids[which], **entry) == "InvalidParameterValue"
        named = {"NetworkAclId": self.ids[which], "RuleNumber": number, "Egress": egress}
        assert self.refused("DeleteNetworkAclEntry", **named) == "InvalidParameterValue"

    @rule(data=st.data(), which=lists)
    def associate(self, data, which):
        subnet = data.draw(st.sampled_from(sorted(self.subnets)))
        before = next(one for acl in self.listed() for one in acl["Associations"] if one["SubnetId"] == subnet)
        moved = {"AssociationId": before["NetworkAclAssociationId"], "NetworkAclId": self.ids[which]}
        new = self.call("ReplaceNetworkAclAssociation", **moved)["NewAssociationId"]
        if self.subnets[subnet] == self.ids[which]:
            assert new == before["NetworkAclAssociationId"]
        else:
            assert self.refused("ReplaceNetworkAclAssociation", **moved) == "InvalidAssociationID.NotFound"
        self.subnets[subnet] = self.ids[which]

    @rule(which=st.integers(1, 2))
    def remove(self, which):
        """Only a list that stands before no subnet can go; then there is another one in its place."""
        acl = self.ids[which]
        used = acl in self.subnets.values()
        assert self.refused("DeleteNetworkAcl", NetworkAclId=acl) == ("DependencyViolation" if used else None)
        if not used:
            vpc = self.listed()[0]["VpcId"]
            self.ids[which] = self.call("CreateNetworkAcl", VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
            self.entries = {key: one for key, one in self.entries.items() if key[0] != acl}

    @invariant()
    def records_fit_together(self):
        assert list(filter_problems(self.cloud.store.view())) == []

    @invariant()
    def what_is_listed_is_what_was_said(self):
        told = {(acl, one["Egress"], one["RuleNumber"]): one for acl, one in self.told()}
        last = {key for key in told if key[2] == 32767}
        assert last == {(acl, egress, 32767) for acl in self.ids for egress in (True, False)}
        assert {key: one for key, one in told.items() if key not in last} == self.entries

    @invariant()
    def every_subnet_has_one_list(self):
        told = [(one["SubnetId"], acl["NetworkAclId"]) for acl in self.listed() for one in acl["Associations"]]
        assert sorted(told) == sorted(self.subnets.items())


TestAcls = Acls.TestCase
TestAcls.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
