"""Random VPCs, blocks and subnets against ranges of integers: subnets lie in blocks, none overlap, errors change nothing."""

import asyncio
import shutil
import tempfile
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import combinations
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pileus.base.config import Config
from pileus.base.errors import ServiceError
from pileus.testing.in_process import DirectCloud

# Few addresses, so that blocks meet: four /18s of two neighbouring /16s, halved again and again.
addresses = st.builds(
    lambda net, rest: f"{net}.{rest >> 8}.{rest & 255}",
    st.sampled_from(["10.8", "10.9", "100.64"]),
    st.integers(0, 15).map(lambda part: part << 12) | st.integers(0, 65535),
)
lengths = st.integers(16, 20) | st.integers(14, 30)
cidrs = st.builds(lambda address, length: f"{address}/{length}", addresses, lengths)
positions = st.integers(0, 100)
# A block of a VPC, an address in it by sixteenths, and how many bits longer than the block: so that most subnets lie in one.
places = st.tuples(positions, st.integers(0, 15), st.integers(-1, 6), st.integers(0, 255))


def span(cidr):
    """First and last address; computed from the text alone."""
    address, _, length = cidr.partition("/")
    parsed = ip_address(address)
    size = 1 << (parsed.max_prefixlen - int(length))
    first = int(parsed) // size * size
    return first, first + size - 1


def inside(inner, outer):
    return span(outer)[0] <= span(inner)[0] and span(inner)[1] <= span(outer)[1]


def overlap(one, other):
    return span(one)[0] <= span(other)[1] and span(other)[0] <= span(one)[1]


def length_of(cidr):
    return int(cidr.partition("/")[2])


class Blocks(RuleBasedStateMachine):
    """The model: of each VPC its IPv4 and IPv6 blocks and its subnets' ones, as the API told them."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-"))
        self.cloud = DirectCloud.open(self.directory, Config())
        self.call("CreateVpc", CidrBlock="10.8.0.0/17", AmazonProvidedIpv6CidrBlock=True)

    def teardown(self):
        self.cloud.close()
        self.loop.close()
        shutil.rmtree(self.directory)

    def call(self, operation, **params):
        return self.loop.run_until_complete(self.cloud.call("ec2", operation, **params))

    def attempt(self, operation, **params):
        """The result, or the error's code; an error leaves the store as it was."""
        before = self.cloud.store.view().revision
        try:
            return self.call(operation, **params), None
        except ServiceError as error:
            assert self.cloud.store.view().revision == before, f"{operation} failed and changed something"
            return None, error.code

    def vpcs(self):
        return [vpc for vpc in self.call("DescribeVpcs")["Vpcs"] if not vpc["IsDefault"]]

    def subnets(self, vpc):
        within = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        return self.call("DescribeSubnets", Filters=within)["Subnets"]

    def pick(self, position):
        found = self.vpcs()
        return found[position % len(found)]

    @rule(cidr=cidrs, ipv6=st.booleans())
    def create_vpc(self, cidr, ipv6):
        present = len(self.call("DescribeVpcs")["Vpcs"])
        made, code = self.attempt("CreateVpc", CidrBlock=cidr, AmazonProvidedIpv6CidrBlock=ipv6)
        if not 16 <= length_of(cidr) <= 28:
            assert code == "InvalidVpc.Range"
        elif present == 5:
            assert code == "VpcLimitExceeded"
        else:
            assert span(made["Vpc"]["CidrBlock"]) == span(cidr)

    @precondition(lambda self: self.vpcs())
    @rule(position=positions)
    def delete_vpc(self, position):
        vpc = self.pick(position)
        _, code = self.attempt("DeleteVpc", VpcId=vpc["VpcId"])
        assert code == ("DependencyViolation" if self.subnets(vpc) else None)

    @precondition(lambda self: self.vpcs())
    @rule(position=positions, cidr=st.none() | cidrs)
    def add_block(self, position, cidr):
        """An IPv4 block, or with None one of IPv6."""
        vpc = self.pick(position)
        if cidr is None:
            full = len(vpc["Ipv6CidrBlockAssociationSet"]) == 5
            _, code = self.attempt("AssociateVpcCidrBlock", VpcId=vpc["VpcId"], AmazonProvidedIpv6CidrBlock=True)
            assert code == ("CidrLimitExceeded" if full else None)
            return
        blocks = [one["CidrBlock"] for one in vpc["CidrBlockAssociationSet"]]
        allowed = 16 <= length_of(cidr) <= 28 and not any(overlap(cidr, one) for one in blocks)
        if cidr.startswith("10.") and not vpc["CidrBlock"].startswith("10."):
            allowed = False
        _, code = self.attempt("AssociateVpcCidrBlock", VpcId=vpc["VpcId"], CidrBlock=cidr)
        assert code == (None if allowed and len(blocks) < 5 else "CidrLimitExceeded" if allowed else "InvalidVpc.Range")

    @precondition(lambda self: self.vpcs())
    @rule(position=positions, which=positions)
    def remove_block(self, position, which):
        vpc = self.pick(position)
        blocks = [(one["AssociationId"], one["CidrBlock"]) for one in vpc["CidrBlockAssociationSet"]]
        blocks += [(one["AssociationId"], one["Ipv6CidrBlock"]) for one in vpc["Ipv6CidrBlockAssociationSet"]]
        id_, cidr = blocks[which % len(blocks)]
        used = any(inside(one, cidr) for subnet in self.subnets(vpc) for one in self.held(subnet) if one)
        _, code = self.attempt("DisassociateVpcCidrBlock", AssociationId=id_)
        if cidr == vpc["CidrBlock"]:
            assert code == "OperationNotPermitted"
        else:
            assert code == ("DependencyViolation" if used else None)

    def held(self, subnet):
        """The blocks of a subnet."""
        live = [
            one["Ipv6CidrBlock"]
            for one in subnet["Ipv6CidrBlockAssociationSet"]
            if one["Ipv6CidrBlockState"]["State"] == "associated"
        ]
        return [subnet["CidrBlock"], *live]

    def fits(self, cidr, blocks, subnets, lengths):
        """The code that a block for a subnet leads to: None where it fits."""
        if length_of(cidr) not in lengths or not any(inside(cidr, one) for one in blocks):
            return "InvalidSubnet.Range"
        if any(overlap(cidr, one) for subnet in subnets for one in self.held(subnet) if (":" in one) == (":" in cidr)):
            return "InvalidSubnet.Conflict"
        return None

    def near(self, blocks, place, deepest):
        """A CIDR in one of these blocks, or reaching out of it."""
        position, part, deeper, stray = place
        block = blocks[position % len(blocks)]
        first, last = span(block)
        address = type(ip_address(block.partition("/")[0]))(first + (last + 1 - first) // 16 * part + stray)
        return f"{address}/{min(length_of(block) + deeper, deepest)}"

    @precondition(lambda self: self.vpcs())
    @rule(position=positions, wishes=st.lists(st.tuples(places, st.none() | places, cidrs), min_size=1, max_size=6))
    def create_subnets(self, position, wishes):
        vpc = self.pick(position)
        blocks = [one["CidrBlock"] for one in vpc["CidrBlockAssociationSet"]]
        v6_blocks = [one["Ipv6CidrBlock"] for one in vpc["Ipv6CidrBlockAssociationSet"]]
        for place, ipv6_place, elsewhere in wishes:
            cidr = self.near(blocks, place, 30) if place[0] % 8 else elsewhere
            self.create_subnet(vpc, cidr, self.ipv6_near(v6_blocks, ipv6_place), blocks, v6_blocks)

    def create_subnet(self, vpc, cidr, ipv6, blocks, v6_blocks):
        present = self.subnets(vpc)
        expected = self.fits(cidr, blocks, present, range(16, 29))
        if expected is None and ipv6:
            expected = self.fits(ipv6, v6_blocks, present, (64,))
        params = {"Ipv6CidrBlock": ipv6} if ipv6 else {}
        made, code = self.attempt("CreateSubnet", VpcId=vpc["VpcId"], CidrBlock=cidr, **params)
        assert code == expected
        if made:
            assert span(made["Subnet"]["CidrBlock"]) == span(cidr)

    def ipv6_near(self, blocks, place):
        """A /64 in one of these blocks, now and then one that is longer, shorter or elsewhere; None without a place."""
        if place is None:
            return None
        position, part, deeper, stray = place
        if not blocks or stray % 16 == 0:
            return f"2001:db8:ffff:{part:x}::/64"
        first, _ = span(blocks[position % len(blocks)])
        length = 64 if stray % 8 else 64 + deeper
        return f"{IPv6Address(first + (part << 64))}/{length}"

    @precondition(lambda self: any(self.subnets(vpc) for vpc in self.vpcs()))
    @rule(position=positions, place=places)
    def change_subnet(self, position, place):
        """Takes its IPv6 block from a subnet, or gives it one."""
        choice = [(vpc, subnet) for vpc in self.vpcs() for subnet in self.subnets(vpc)]
        vpc, subnet = choice[position % len(choice)]
        live = [
            one for one in subnet["Ipv6CidrBlockAssociationSet"] if one["Ipv6CidrBlockState"]["State"] == "associated"
        ]
        if live:
            self.call("DisassociateSubnetCidrBlock", AssociationId=live[0]["AssociationId"])
            return
        blocks = [one["Ipv6CidrBlock"] for one in vpc["Ipv6CidrBlockAssociationSet"]]
        ipv6 = self.ipv6_near(blocks, place)
        expected = self.fits(ipv6, blocks, self.subnets(vpc), (64,))
        _, code = self.attempt("AssociateSubnetCidrBlock", SubnetId=subnet["SubnetId"], Ipv6CidrBlock=ipv6)
        assert code == expected

    @precondition(lambda self: any(self.subnets(vpc) for vpc in self.vpcs()))
    @rule(position=positions)
    def delete_subnet(self, position):
        choice = [subnet for vpc in self.vpcs() for subnet in self.subnets(vpc)]
        self.call("DeleteSubnet", SubnetId=choice[position % len(choice)]["SubnetId"])

    @invariant()
    def subnets_lie_in_blocks_and_apart(self):
        everybodys = []
        for vpc in self.vpcs():
            blocks = [one["CidrBlock"] for one in vpc["CidrBlockAssociationSet"]]
            v6_blocks = [one["Ipv6CidrBlock"] for one in vpc["Ipv6CidrBlockAssociationSet"]]
            assert not any(overlap(*pair) for pair in combinations(blocks, 2))
            everybodys += v6_blocks
            held = [cidr for subnet in self.subnets(vpc) for cidr in self.held(subnet)]
            for cidr in held:
                assert str(ip_network(cidr)) == cidr
                assert any(inside(cidr, block) for block in (v6_blocks if ":" in cidr else blocks))
            assert not any(overlap(*pair) for pair in combinations(held, 2) if (":" in pair[0]) == (":" in pair[1]))
        assert not any(overlap(*pair) for pair in combinations(everybodys, 2))

    @invariant()
    def every_subnet_has_one_network_acl(self):
        acls = self.call("DescribeNetworkAcls")["NetworkAcls"]
        associated = [one["SubnetId"] for acl in acls for one in acl["Associations"]]
        assert sorted(associated) == sorted(one["SubnetId"] for one in self.call("DescribeSubnets")["Subnets"])


TestBlocks = Blocks.TestCase
TestBlocks.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
