"""Elastic IPs stay while instances come and go."""

import pytest

from pileus.records import Address


@pytest.fixture
async def elastic(ec2):
    """An Elastic IP: its allocation id and its address."""
    answer = await ec2.allocate_address()
    return answer["AllocationId"], answer["PublicIp"]


async def test_it_moves_between_running_instances(cloud, ec2, launch, described, elastic):
    allocation, public = elastic
    one, two = await launch(2)
    await ec2.associate_address(AllocationId=allocation, InstanceId=one)
    assert (await described(one))["PublicIpAddress"] == public
    moved = await ec2.associate_address(AllocationId=allocation, InstanceId=two)
    assert (await described(two))["PublicIpAddress"] == public
    assert (await described(one)).get("PublicIpAddress") != public
    (told,) = (await ec2.describe_addresses())["Addresses"]
    assert (told["InstanceId"], told["AssociationId"]) == (two, moved["AssociationId"])
    await cloud.settled()

    def translated():
        return {
            one.address: one.public
            for vpc in cloud.hosts[0].network.spec.vpcs
            for interface in vpc.interfaces
            for one in interface.addresses
        }

    private = (await described(two))["PrivateIpAddress"]
    await cloud.until(lambda _: translated().get(private) == public)
    assert list(translated().values()).count(public) == 1


async def test_it_stays_over_stop_and_start(cloud, ec2, launch, described, elastic):
    allocation, public = elastic
    (id_,) = await launch()
    await ec2.associate_address(AllocationId=allocation, InstanceId=id_)
    await ec2.stop_instances(InstanceIds=[id_])
    await ec2.wait("instance_stopped", id_)
    assert (await described(id_))["PublicIpAddress"] == public
    await cloud.settled()
    await ec2.start_instances(InstanceIds=[id_])
    await ec2.wait("instance_running", id_)
    assert (await described(id_))["PublicIpAddress"] == public
    await cloud.settled()


async def test_it_is_free_again_after_the_end(cloud, ec2, launch, elastic):
    allocation, public = elastic
    (id_,) = await launch()
    await ec2.associate_address(AllocationId=allocation, InstanceId=id_)
    assert await ec2.refusal("release_address", AllocationId=allocation) == ("InvalidIPAddress.InUse", 400)
    await ec2.terminate_instances(InstanceIds=[id_])
    await ec2.wait("instance_terminated", id_)
    await cloud.settled()
    (told,) = (await ec2.describe_addresses())["Addresses"]
    assert not told.keys() & {"AssociationId", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress"}
    await ec2.release_address(AllocationId=allocation)
    assert (await ec2.allocate_address(Address=public))["PublicIp"] == public


async def test_without_it_the_instance_has_an_address_of_the_pool_again(cloud, ec2, launch, described, elastic):
    allocation, public = elastic
    (id_,) = await launch()
    association = (await ec2.associate_address(AllocationId=allocation, InstanceId=id_))["AssociationId"]
    await ec2.disassociate_address(AssociationId=association)
    assert (await described(id_))["PublicIpAddress"] != public
    await ec2.associate_address(AllocationId=allocation, InstanceId=id_)
    await cloud.settled()


async def test_it_follows_an_interface_to_another_instance(cloud, ec2, launch, described, elastic):
    """An interface that outlives its instance keeps its Elastic IP, and brings it to the next one."""
    allocation, public = elastic
    (first,) = await launch(NetworkInterfaces=[{"DeviceIndex": 0, "DeleteOnTermination": False}])
    await ec2.associate_address(AllocationId=allocation, InstanceId=first)
    interface = (await described(first))["NetworkInterfaces"][0]["NetworkInterfaceId"]
    await ec2.terminate_instances(InstanceIds=[first])
    await ec2.wait("instance_terminated", first)
    await cloud.settled()
    assert cloud.store.view().get(Address, allocation).interface_id == interface

    (second,) = await launch(NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": interface}])
    assert (await described(second))["PublicIpAddress"] == public
    (told,) = (await ec2.describe_addresses(Filters=[{"Name": "instance-id", "Values": [second]}]))["Addresses"]
    assert told["PublicIp"] == public
    await cloud.settled()
