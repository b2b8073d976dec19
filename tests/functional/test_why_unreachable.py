"""``pileus why-unreachable``, over a simulated cloud and by the public API."""

import asyncio
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import pileus.records.paths
from pileus.cmd import cloud as clouds
from pileus.cmd.errors import CloudError
from pileus.cmd.main import main
from pileus.cmd.why_sentences import sentence
from pileus.cmd.why_unreachable import why


@pytest.fixture
def ask(cloud):
    """``await ask(source, destination, port)``: the verdict. Nothing is left behind."""

    async def run(source, destination, port, protocol="tcp"):
        ec2 = cloud.client("ec2")
        try:
            return await asyncio.to_thread(why, ec2, source, destination, port, protocol)
        finally:
            for listed in ("paths", "analyses"):
                described = await asyncio.to_thread(getattr(ec2, f"describe_network_insights_{listed}"))
                assert described[f"NetworkInsights{listed.title()}"] == []

    return run


@pytest.fixture
async def pair(described, launch):
    """Two instances of the default VPC, in its default group, as described."""
    return [await described(id_) for id_ in await launch(2)]


async def test_a_way_is_told_in_a_sentence(ask, pair):
    one, other = pair
    verdict = await ask(one["InstanceId"], other["InstanceId"], 80)
    assert verdict.reachable
    (told,) = verdict.sentences
    nic = one["NetworkInterfaces"][0]["NetworkInterfaceId"]
    assert told.startswith(
        f"{one['InstanceId']} reaches {other['InstanceId']} on tcp port 80: {one['InstanceId']} → {nic}"
    )
    assert (await ask(nic, other["PrivateIpAddress"], 53, "udp")).reachable
    assert (await ask(one["PrivateIpAddress"], other["InstanceId"], 80)).reachable
    assert (await ask(one["InstanceId"], "internet", 443)).reachable
    assert (await ask(one["InstanceId"], "8.8.8.8", 443)).reachable


async def test_what_stops_it_and_what_would_help_are_told(ask, ec2, pair):
    _, other = pair
    group = other["SecurityGroups"][0]["GroupId"]
    for source in ("internet", "198.51.100.200"):
        verdict = await ask(source, other["InstanceId"], 22)
        assert not verdict.reachable
        (told,) = verdict.sentences
        assert f"no inbound rule of the security group {group}" in told
        assert "tcp port 22" in told
        assert told.endswith("an inbound rule for it would.")
    permission = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    await ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert (await ask("internet", other["InstanceId"], 22)).reachable
    assert (await ask("internet", other["PublicIpAddress"], 22)).reachable


async def test_answers_are_told_apart(ask, ec2, pair):
    _, other = pair
    filters = [{"Name": "association.subnet-id", "Values": [other["SubnetId"]]}]
    (acl,) = (await ec2.describe_network_acls(Filters=filters))["NetworkAcls"]
    denied = {"RuleNumber": 1, "Protocol": "6", "RuleAction": "deny", "Egress": True, "CidrBlock": "0.0.0.0/0"}
    ports = {"From": 1024, "To": 65535}
    await ec2.create_network_acl_entry(NetworkAclId=acl["NetworkAclId"], PortRange=ports, **denied)
    told = " ".join((await ask("internet", other["InstanceId"], 22)).sentences)
    assert f"the outbound entry 1 of the network ACL {acl['NetworkAclId']}" in told
    assert "denies answers on tcp ports 1024-65535" in told


async def test_a_vpc_without_a_gateway(ask, ec2):
    vpc = (await ec2.create_vpc(CidrBlock="10.9.0.0/16"))["Vpc"]["VpcId"]
    subnet = (await ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24"))["Subnet"]["SubnetId"]
    nic = (await ec2.create_network_interface(SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"]
    for ends in ((nic, "internet"), ("internet", nic)):
        verdict = await ask(*ends, 443)
        assert not verdict.reachable
        assert f"{vpc} has no internet gateway; attach one" in verdict.sentences[0]


@pytest.mark.parametrize(
    ("source", "destination", "complaint"),
    [
        ("internet", "internet", "must be in this cloud"),
        ("8.8.8.8", "9.9.9.9", "Neither"),
        ("i-0123456789abcdef0", "internet", "There is no i-0123456789abcdef0"),
        ("nonsense", "internet", "neither the id"),
    ],
)
async def test_ends_that_make_no_sense(ask, source, destination, complaint):
    with pytest.raises(CloudError, match=complaint):
        await ask(source, destination, 80)


async def test_the_exit_status_says_it_too(cloud, pair, monkeypatch, directory):
    one, other = (instance["InstanceId"] for instance in pair)
    monkeypatch.setattr(clouds, "connect", lambda *_, region: cloud.client("ec2"))

    def run(*words):
        return CliRunner().invoke(main, ["--data-dir", str(directory / "other"), "why-unreachable", *words])

    reached = await asyncio.to_thread(run, one, other, "80")
    assert (reached.exit_code, "reaches" in reached.output) == (0, True)
    stopped = await asyncio.to_thread(run, "internet", other, "80", "--protocol", "udp")
    assert (stopped.exit_code, "does not reach" in stopped.output) == (1, True)


def test_every_code_has_a_sentence():
    folder = Path(pileus.records.paths.__file__).parent
    text = "".join(file.read_text() for file in folder.glob("*.py"))
    codes = set(re.findall(r'"([A-Z0-9]+(?:_[A-Z0-9]+)+)"', text)) | {
        f"IGW_{field}_ADDRESS_NOT_IN_{family}"
        for family in ("RFC1918", "RFC6598")
        for field in ("SOURCE", "DESTINATION")
    }
    assert len(codes) > 15
    component = {"Id": "x-1"}
    explanation = {
        "Acl": component,
        "Address": "10.0.0.9",
        "Direction": "egress",
        "Port": 80,
        "Protocols": ["tcp"],
        "SecurityGroups": [component],
    }
    for code in codes:
        full = f"{code}_{'INGRESS' if 'SOURCE' in code else 'EGRESS'}" if "NOT_IN_RFC" in code else code
        told = sentence({**explanation, "ExplanationCode": full}, 80)
        assert full not in told, full
        assert told.endswith(".")
