import pytest

from pileus.records.instance import State


@pytest.fixture
async def running(cloud, launch):
    instance_id = (await launch())["InstanceId"]
    cloud.enter(instance_id, State.RUNNING)
    return instance_id


@pytest.fixture
def allocate(ec2):
    async def address(**params):
        return (await ec2("AllocateAddress", **params))["AllocationId"]

    return address


def ids(result):
    return [address["AllocationId"] for address in result["Addresses"]]


async def instance(ec2, instance_id):
    return (await ec2("DescribeInstances", InstanceIds=[instance_id]))["Reservations"][0]["Instances"][0]


async def test_allocating(cloud, ec2, refused):
    tags = [{"Key": "a", "Value": "b"}]
    made = await ec2("AllocateAddress", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
    assert made["PublicIp"].startswith("203.0.113.")
    assert (await ec2("DescribeAddresses"))["Addresses"] == [
        {
            "AllocationId": made["AllocationId"],
            "PublicIp": made["PublicIp"],
            "PublicIpv4Pool": "amazon",
            "Domain": "vpc",
            "NetworkBorderGroup": "us-east-1",
            "Tags": tags,
        }
    ]
    assert (await cloud.within("eu-central-1").call("ec2", "DescribeAddresses"))["Addresses"] == []
    assert await refused("AllocateAddress", Domain="moon") == "InvalidParameterValue"
    assert await refused("AllocateAddress", PublicIpv4Pool="ipv4pool-ec2-0") == "InvalidPublicIpv4PoolID.NotFound"
    assert await refused("AllocateAddress", NetworkBorderGroup="eu-central-1") == "InvalidParameterValue"


async def test_a_certain_address(cloud, ec2, refused):
    wanted = "203.0.113.9"
    assert (await ec2("AllocateAddress", Address=wanted))["PublicIp"] == wanted
    assert await refused("AllocateAddress", Address=wanted) == "InvalidAddress.NotFound"
    assert (await cloud.of("000000000002").refusal("ec2", "AllocateAddress", Address=wanted)).code == (
        "InvalidAddress.NotFound"
    )
    for outside in ("203.0.113.1", "203.0.113.3", "203.0.113.30", "203.0.113.31", "198.51.100.7"):
        assert await refused("AllocateAddress", Address=outside) == "InvalidAddress.NotFound"
    assert await refused("AllocateAddress", Address="9") == "InvalidParameterValue"


async def test_no_address_is_had_twice(ec2, refused, image):
    params = {"ImageId": image.id, "MinCount": 1, "InstanceType": "t3.micro"}
    taken = [(await ec2("AllocateAddress"))["PublicIp"] for _ in range(4)]
    await ec2("RunInstances", **params, MaxCount=30)
    launched = (await ec2("DescribeInstances"))["Reservations"][0]["Instances"]
    taken += [one["PublicIpAddress"] for one in launched]
    assert len(set(taken)) == len(taken) == 26
    assert not {f"203.0.113.{kept}" for kept in (0, 1, 2, 3, 30, 31)} & set(taken)
    assert await refused("AllocateAddress") == "InsufficientAddressCapacity"
    assert await refused("RunInstances", **params, MaxCount=1) == "InsufficientAddressCapacity"
    assert len((await ec2("DescribeNetworkInterfaces"))["NetworkInterfaces"]) == 22


async def test_releasing(ec2, refused, allocate, running):
    first = await allocate()
    await ec2("AssociateAddress", AllocationId=first, InstanceId=running)
    assert await refused("ReleaseAddress", AllocationId=first) == "InvalidIPAddress.InUse"
    address = (await ec2("DescribeAddresses"))["Addresses"][0]
    await ec2("DisassociateAddress", AssociationId=address["AssociationId"])
    await ec2("ReleaseAddress", AllocationId=first)
    assert await refused("ReleaseAddress", AllocationId=first) == "InvalidAllocationID.NotFound"
    assert (await ec2("AllocateAddress", Address=address["PublicIp"]))["PublicIp"] == address["PublicIp"]
    assert await refused("ReleaseAddress") == "MissingParameter"


async def test_it_takes_the_place_of_the_instances_own_address(cloud, ec2, allocate, running):
    own = (await instance(ec2, running))["PublicIpAddress"]
    first = await allocate()
    associated = await ec2("AssociateAddress", AllocationId=first, InstanceId=running)
    address = (await ec2("DescribeAddresses"))["Addresses"][0]
    drawn = await instance(ec2, running)
    assert drawn["PublicIpAddress"] == address["PublicIp"] != own
    assert drawn["PublicDnsName"] == f"ec2-{address['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com"
    assert drawn["NetworkInterfaces"][0]["Association"]["IpOwnerId"] == cloud.account
    assert address["AssociationId"] == associated["AssociationId"]
    assert (address["InstanceId"], address["PrivateIpAddress"]) == (running, drawn["PrivateIpAddress"])
    again = await ec2("AssociateAddress", AllocationId=first, InstanceId=running)
    assert again == associated
    assert (await ec2("AllocateAddress", Address=own))["PublicIp"] == own


async def test_after_it_the_instance_has_an_address_of_the_pool_again(ec2, allocate, running):
    first = await allocate()
    association = (await ec2("AssociateAddress", AllocationId=first, InstanceId=running))["AssociationId"]
    elastic = (await instance(ec2, running))["PublicIpAddress"]
    await ec2("DisassociateAddress", AssociationId=association)
    assert (await instance(ec2, running))["PublicIpAddress"] not in {None, elastic}
    assert "AssociationId" not in (await ec2("DescribeAddresses"))["Addresses"][0]


async def test_moving_between_running_instances(cloud, ec2, refused, allocate, running, launch):
    other = (await launch())["InstanceId"]
    first = await allocate()
    assert await refused("AssociateAddress", AllocationId=first, InstanceId=other) == "InvalidInstanceID"
    cloud.enter(other, State.RUNNING)
    await ec2("AssociateAddress", AllocationId=first, InstanceId=running)
    code = await refused("AssociateAddress", AllocationId=first, InstanceId=other, AllowReassociation=False)
    assert code == "Resource.AlreadyAssociated"
    await ec2("AssociateAddress", AllocationId=first, InstanceId=other)
    public = (await ec2("DescribeAddresses"))["Addresses"][0]["PublicIp"]
    assert (await instance(ec2, other))["PublicIpAddress"] == public
    assert (await instance(ec2, running))["PublicIpAddress"] not in {None, public}


async def test_disassociating_works_with_an_empty_pool_too(ec2, allocate, running, image):
    elastic = await allocate()
    association = (await ec2("AssociateAddress", AllocationId=elastic, InstanceId=running))["AssociationId"]
    await ec2("RunInstances", ImageId=image.id, InstanceType="t3.micro", MinCount=1, MaxCount=30)
    await ec2("DisassociateAddress", AssociationId=association)
    assert "PublicIpAddress" not in await instance(ec2, running)


async def test_an_interface_with_one_takes_another_only_when_allowed(ec2, refused, allocate, running):
    first, second = await allocate(), await allocate()
    await ec2("AssociateAddress", AllocationId=first, InstanceId=running)
    code = await refused("AssociateAddress", AllocationId=second, InstanceId=running)
    assert code == "Resource.AlreadyAssociated"
    await ec2("AssociateAddress", AllocationId=second, InstanceId=running, AllowReassociation=True)
    bound = {one["AllocationId"]: one.get("InstanceId") for one in (await ec2("DescribeAddresses"))["Addresses"]}
    assert bound == {first: None, second: running}


async def test_what_is_refused(cloud, ec2, refused, allocate, launch, running):
    first = await allocate()
    interface = (await instance(ec2, running))["NetworkInterfaces"][0]["NetworkInterfaceId"]
    for params, code in (
        ({"AllocationId": first}, "MissingParameter"),
        ({"InstanceId": running}, "MissingParameter"),
        (
            {"AllocationId": first, "InstanceId": running, "NetworkInterfaceId": interface},
            "InvalidParameterCombination",
        ),
        ({"AllocationId": first, "PublicIp": "203.0.113.9", "InstanceId": running}, "InvalidParameterCombination"),
        ({"AllocationId": first, "InstanceId": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"AllocationId": "eipalloc-0123456789abcdef0", "InstanceId": running}, "InvalidAllocationID.NotFound"),
        ({"PublicIp": "203.0.113.200", "InstanceId": running}, "InvalidAddress.NotFound"),
        ({"AllocationId": first, "InstanceId": running, "PrivateIpAddress": "10.0.0.1"}, "InvalidParameterValue"),
    ):
        assert await refused("AssociateAddress", **params) == code
    several = (await launch(NetworkInterfaces=[{"DeviceIndex": 0}, {"DeviceIndex": 1}]))["InstanceId"]
    assert await refused("AssociateAddress", AllocationId=first, InstanceId=several) == "InvalidInstanceID"
    cloud.enter(running, State.SHUTTING_DOWN)
    assert await refused("AssociateAddress", AllocationId=first, InstanceId=running) == "InvalidInstanceID"
    assert await refused("DisassociateAddress") == "MissingParameter"
    code = await refused("DisassociateAddress", AssociationId="eipassoc-0123456789abcdef0")
    assert code == "InvalidAssociationID.NotFound"


async def test_finding(ec2, refused, allocate, running):
    first, second = await allocate(), await allocate()
    public = {one["AllocationId"]: one["PublicIp"] for one in (await ec2("DescribeAddresses"))["Addresses"]}
    await ec2("AssociateAddress", PublicIp=public[first], InstanceId=running)
    assert ids(await ec2("DescribeAddresses", PublicIps=[public[second]])) == [second]
    both = await ec2("DescribeAddresses", PublicIps=[public[second]], AllocationIds=[first])
    assert set(ids(both)) == {first, second}
    assert await refused("DescribeAddresses", PublicIps=["203.0.113.200"]) == "InvalidAddress.NotFound"
    for name, value in (("instance-id", running), ("public-ip", public[first]), ("association-id", "eipassoc-*")):
        assert ids(await ec2("DescribeAddresses", Filters=[{"Name": name, "Values": [value]}])) == [first]


async def test_anothers_address(cloud, allocate):
    first = await allocate()
    other = cloud.of("000000000002")
    assert (await other.refusal("ec2", "ReleaseAddress", AllocationId=first)).code == "InvalidAllocationID.NotFound"
