"""Accounts see nothing of one another."""

import botocore.session
import pytest
from awaitable_client import Awaitable

from pileus.services.ec2.api import ec2 as declared
from pileus.services.ec2.resources import RESOURCES

STRANGER = "000000000002"


EC2 = botocore.session.get_session().get_service_model("ec2")


def shape_of(operation):
    return EC2.operation_model(operation).input_shape


@pytest.fixture
async def inhabited(cloud, ec2, launch):
    """One of everything in the first account: ids by prefix."""
    await ec2.create_key_pair(KeyName="mine", TagSpecifications=[tags("key-pair")])
    group = await ec2.create_security_group(GroupName="mine", Description="mine")
    await ec2.allocate_address()
    (id_,) = await launch(KeyName="mine", SecurityGroupIds=[group["GroupId"]], TagSpecifications=[tags("instance")])
    view = cloud.store.view()
    found = {}
    for resource in RESOURCES:
        for one in view.list(resource.kind, account=cloud.config.account, region=cloud.config.default_region):
            found[resource.prefix] = one.id
    assert found["i"] == id_
    return found


def tags(kind):
    return {"ResourceType": kind, "Tags": [{"Key": "secret", "Value": "mine"}]}


@pytest.fixture
def stranger(cloud):
    return Awaitable(cloud.client("ec2", credentials=cloud.add_account(STRANGER)))


def describing():
    return sorted(
        name for name in declared.operations if name.startswith("Describe") and not shape_of(name).required_members
    )


async def test_nothing_of_others_is_listed(cloud, stranger, inhabited):
    for operation in describing():
        answer = await getattr(stranger, botocore.xform_name(operation))()
        text = repr({name: value for name, value in answer.items() if name != "ResponseMetadata"})
        for word in (*inhabited.values(), cloud.config.account, "secret"):
            assert word not in text, operation


PARAMETERS = {
    "vpc": "VpcIds", "subnet": "SubnetIds", "sg": "GroupIds", "i": "InstanceIds", "eni": "NetworkInterfaceIds",
    "eipalloc": "AllocationIds", "vol": "VolumeIds", "igw": "InternetGatewayIds", "rtb": "RouteTableIds",
    "acl": "NetworkAclIds", "key": "KeyPairIds", "ami": "ImageIds", "dopt": "DhcpOptionsIds",
}  # fmt: skip
"""How Describe operations name resources, by the prefix of their ids."""

ACTIONS = [
    ("i", "terminate_instances", "InstanceIds", {}),
    ("i", "stop_instances", "InstanceIds", {}),
    ("i", "start_instances", "InstanceIds", {}),
    ("i", "reboot_instances", "InstanceIds", {}),
    ("i", "monitor_instances", "InstanceIds", {}),
    ("i", "get_console_output", "InstanceId", {}),
    ("i", "get_console_screenshot", "InstanceId", {}),
    ("i", "describe_instance_attribute", "InstanceId", {"Attribute": "userData"}),
    ("i", "modify_instance_attribute", "InstanceId", {"EbsOptimized": {"Value": True}}),
    ("i", "modify_instance_metadata_options", "InstanceId", {"HttpTokens": "required"}),
    ("i", "create_tags", "Resources", {"Tags": [{"Key": "a", "Value": "b"}]}),
    ("eipalloc", "release_address", "AllocationId", {}),
    ("sg", "delete_security_group", "GroupId", {}),
    ("sg", "authorize_security_group_ingress", "GroupId", {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}),
    ("sg", "create_tags", "Resources", {"Tags": [{"Key": "a", "Value": "b"}]}),
    ("vpc", "describe_vpc_attribute", "VpcId", {"Attribute": "enableDnsSupport"}),
    ("vpc", "delete_vpc", "VpcId", {}),
    ("vpc", "create_subnet", "VpcId", {"CidrBlock": "172.31.200.0/24"}),
    ("vpc", "associate_vpc_cidr_block", "VpcId", {"CidrBlock": "100.64.0.0/24"}),
    ("subnet", "delete_subnet", "SubnetId", {}),
    ("dopt", "delete_dhcp_options", "DhcpOptionsId", {}),
    ("vpc", "create_security_group", "VpcId", {"GroupName": "x", "Description": "x"}),
    *(
        (prefix, botocore.xform_name(operation), parameter, {})
        for prefix, parameter in PARAMETERS.items()
        for operation in describing()
        if prefix != "ami" and parameter in shape_of(operation).members
    ),
]


async def test_what_is_anothers_is_as_good_as_not_there(stranger, inhabited):
    """The same error, word for word but for the id, so that nobody finds out which ids there are."""
    for prefix, operation, parameter, further in ACTIONS:
        told = []
        for id_ in (inhabited[prefix], f"{prefix}-0123456789abcdef0"):
            named = [id_] if parameter.endswith("s") else id_
            with pytest.raises(stranger.blocking.exceptions.ClientError) as error:
                await getattr(stranger, operation)(**{parameter: named}, **further)
            answer = error.value.response["Error"]
            told.append((answer["Code"], answer["Message"].replace(id_, "ID")))
        assert told[0] == told[1], operation
        assert ".NotFound" in told[0][0], operation


async def test_launches_and_associations_with_what_is_anothers(cloud, stranger, inhabited):
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    mine = (await stranger.run_instances(**wanted))["Instances"][0]["InstanceId"]
    await stranger.wait("instance_running", mine)
    for further, code in (
        ({"SubnetId": inhabited["subnet"]}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": [inhabited["sg"]]}, "InvalidGroup.NotFound"),
        ({"KeyName": "mine"}, "InvalidKeyPair.NotFound"),
        (
            {"NetworkInterfaces": [{"DeviceIndex": 0, "NetworkInterfaceId": inhabited["eni"]}]},
            "InvalidNetworkInterfaceID.NotFound",
        ),
    ):
        assert await stranger.refusal("run_instances", **wanted, **further) == (code, 400)
    refused = stranger.refusal("associate_address", AllocationId=inhabited["eipalloc"], InstanceId=mine)
    assert await refused == ("InvalidAllocationID.NotFound", 400)
    own = (await stranger.allocate_address())["AllocationId"]
    refused = stranger.refusal("associate_address", AllocationId=own, InstanceId=inhabited["i"])
    assert await refused == ("InvalidInstanceID.NotFound", 400)
    await cloud.settled()


async def test_each_is_told_who_it_is(cloud):
    for keys in (cloud.credentials, cloud.add_account(STRANGER)):
        sts = Awaitable(cloud.client("sts", credentials=keys))
        assert (await sts.get_caller_identity())["Account"] == keys.account


async def test_guests_of_two_accounts_are_in_networks_of_their_own(cloud, stranger, launch):
    await launch()
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    await stranger.wait("instance_running", (await stranger.run_instances(**wanted))["Instances"][0]["InstanceId"])
    (one, two) = cloud.hosts[0].network.spec.vpcs
    assert (len(one.interfaces), len(two.interfaces)) == (1, 1)
    assert one.cidrs == two.cidrs
