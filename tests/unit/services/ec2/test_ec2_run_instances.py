import base64
from ipaddress import IPv4Network

import pytest
from documented import service_model
from msgspec.structs import replace
from senseless import JUNK, senseless

from pileus.base.errors import ServiceError
from pileus.records import Instance, NetworkInterface, Subnet, Volume
from pileus.records.network_interface import PrivateAddress
from pileus.records.subnet import subnet_scope
from pileus.testing.in_process import DirectCloud


@pytest.fixture
def refuse(refused, image):
    """``await refuse(…)``: the code with which RunInstances refuses a launch that is otherwise fine."""

    async def code(**params):
        plain = {"ImageId": image.id, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
        return await refused("RunInstances", **{**plain, **params})

    return code


@pytest.fixture
def roomy(tmp_path):
    """A cloud with the default configuration's 250 public addresses."""
    (tmp_path / "roomy").mkdir()
    cloud = DirectCloud.open(tmp_path / "roomy")
    yield cloud
    cloud.close()


def nothing_left(cloud):
    view = cloud.store.view()
    return not (view.list(Instance) or view.list(NetworkInterface) or view.list(Volume))


async def test_a_plain_launch(cloud, ec2, image):
    result = await ec2("RunInstances", ImageId=image.id, MinCount=1, MaxCount=1)
    assert result["ReservationId"].startswith("r-")
    assert result["OwnerId"] == cloud.account
    (instance,) = result["Instances"]
    assert instance["State"] == {"Code": 0, "Name": "pending"}
    assert instance["InstanceType"] == "m1.small"
    assert instance["LaunchTime"] == cloud.clock.now()
    assert instance["Placement"]["AvailabilityZone"] == "us-east-1a"
    assert instance["PrivateIpAddress"].startswith("172.31.")
    assert instance["PrivateDnsName"] == f"ip-{instance['PrivateIpAddress'].replace('.', '-')}.ec2.internal"
    assert instance["PublicIpAddress"].startswith("203.0.113.")
    assert [group["GroupName"] for group in instance["SecurityGroups"]] == ["default"]
    assert instance["SecurityGroups"] == instance["NetworkInterfaces"][0]["Groups"]
    assert instance["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"
    described = (await ec2("DescribeInstances"))["Reservations"][0]
    assert described == result


async def test_several_from_one_call(ec2, image):
    result = await ec2("RunInstances", ImageId=image.id, InstanceType="t3.micro", MinCount=2, MaxCount=4)
    launched = result["Instances"]
    assert [one["AmiLaunchIndex"] for one in launched] == [0, 1, 2, 3]
    assert len({one["PrivateIpAddress"] for one in launched}) == 4
    assert len((await ec2("DescribeInstances"))["Reservations"]) == 1


async def test_as_many_as_there_is_room_for(cloud, ec2, image, refuse):
    cloud.placement.room = 3
    assert await refuse(MinCount=4, MaxCount=5) == "InsufficientInstanceCapacity"
    assert nothing_left(cloud)
    cloud.placement.room = 3
    result = await ec2("RunInstances", ImageId=image.id, InstanceType="t3.micro", MinCount=1, MaxCount=5)
    assert len(result["Instances"]) == 3
    assert len(cloud.store.view().list(NetworkInterface)) == 3
    assert len(cloud.store.view().list(Volume)) == 3


async def test_a_repeated_call_launches_once(cloud, ec2, image, refuse):
    params = {"ImageId": image.id, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "ClientToken": "once"}
    first = await ec2("RunInstances", **params)
    assert await ec2("RunInstances", **params) == first
    assert len(cloud.store.view().list(Instance)) == 1
    assert await refuse(ClientToken="once", MaxCount=2) == "IdempotentParameterMismatch"
    other = await cloud.of("000000000002").call("ec2", "RunInstances", **params)
    assert other["ReservationId"] != first["ReservationId"]


async def test_keys_user_data_and_options(cloud, ec2, launch):
    await ec2("CreateKeyPair", KeyName="mine", KeyType="ed25519")
    made = await launch(
        KeyName="mine",
        UserData=base64.b64encode(b"#!/bin/sh\n").decode(),
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        InstanceInitiatedShutdownBehavior="terminate",
        DisableApiTermination=True,
        Monitoring={"Enabled": True},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "x"}]}],
    )
    assert made["KeyName"] == "mine"
    assert made["MetadataOptions"]["HttpTokens"] == "required"
    assert made["Monitoring"] == {"State": "enabled"}
    assert made["Tags"] == [{"Key": "Name", "Value": "x"}]
    record = cloud.store.view().get(Instance, made["InstanceId"])
    assert record.public_key.startswith("ssh-ed25519 ")
    assert base64.b64decode(record.user_data) == b"#!/bin/sh\n"


async def test_the_root_volume(ec2, launch, refuse):
    larger = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9, "VolumeType": "gp2", "DeleteOnTermination": False}}]
    await launch(BlockDeviceMappings=larger)
    (volume,) = (await ec2("DescribeVolumes"))["Volumes"]
    assert (volume["Size"], volume["VolumeType"], volume["Iops"]) == (9, "gp2", 100)
    assert volume["Attachments"][0]["DeleteOnTermination"] is False


async def test_where_it_goes(ec2, launch):
    assert (await launch(Placement={"AvailabilityZone": "us-east-1b"}))["Placement"]["AvailabilityZone"] == "us-east-1b"
    subnet = (await ec2("DescribeSubnets"))["Subnets"][1]["SubnetId"]
    made = await launch(SubnetId=subnet, PrivateIpAddress="172.31.16.77")
    assert (made["SubnetId"], made["PrivateIpAddress"]) == (subnet, "172.31.16.77")


async def test_a_full_default_subnet_is_passed_over(cloud, launch):
    first = await launch()
    subnet = cloud.store.view().get(Subnet, first["SubnetId"])
    interface = cloud.store.view().list(NetworkInterface, subnet_id=subnet.id)[0]
    free = {str(one) for one in list(IPv4Network(subnet.cidr))[4:-1]} - {interface.private_address}
    others = tuple(PrivateAddress(address=one) for one in free)

    def fill(tx):
        tx.put(replace(interface, addresses=(*interface.addresses, *others)))
        for one in others:
            tx.claim(subnet_scope(subnet.id), one.address, interface.id)

    cloud.store.transact(fill)
    assert (await launch())["Placement"]["AvailabilityZone"] != first["Placement"]["AvailabilityZone"]


async def test_interfaces(ec2, launch):
    group = (await ec2("CreateSecurityGroup", GroupName="web", Description="x"))["GroupId"]
    made = await launch(
        NetworkInterfaces=[{"DeviceIndex": 0, "Groups": [group], "AssociatePublicIpAddress": False, "Description": "x"}]
    )
    assert "PublicIpAddress" not in made
    assert made["SecurityGroups"] == [{"GroupId": group, "GroupName": "web"}]
    assert made["NetworkInterfaces"][0]["Description"] == "x"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"ImageId": None}, "MissingParameter"),
        ({"MinCount": 0}, "InvalidParameterValue"),
        ({"MinCount": 2}, "InvalidParameterValue"),
        ({"InstanceType": "t9.huge"}, "InvalidParameterValue"),
        ({"InstanceType": "t4g.micro"}, "InvalidParameterValue"),
        ({"KeyName": "none"}, "InvalidKeyPair.NotFound"),
        ({"UserData": "no base64!"}, "InvalidUserData.Malformed"),
        ({"UserData": base64.b64encode(b"x" * 16385).decode()}, "InvalidParameterValue"),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroups": ["none"]}, "InvalidGroup.NotFound"),
        ({"PrivateIpAddress": "10.0.0.1"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "172.31.0.3"}, "InvalidParameterValue"),
        ({"MaxCount": 2, "PrivateIpAddress": "172.31.0.9"}, "InvalidParameterCombination"),
        ({"Placement": {"AvailabilityZone": "us-east-1f"}}, "MissingInput"),
        ({"Placement": {"GroupName": "none"}}, "InvalidPlacementGroup.Unknown"),
        ({"IamInstanceProfile": {"Name": "none"}}, "InvalidParameterValue"),
        ({"InstanceInitiatedShutdownBehavior": "hibernate"}, "InvalidParameterValue"),
        ({"MetadataOptions": {"HttpTokens": "maybe"}}, "InvalidParameterValue"),
        ({"CreditSpecification": {"CpuCredits": "free"}}, "InvalidParameterValue"),
        ({"MaintenanceOptions": {"AutoRecovery": "never"}}, "InvalidParameterValue"),
        ({"PrivateDnsNameOptions": {"HostnameType": "fancy"}}, "InvalidParameterValue"),
        ({"CpuOptions": {"CoreCount": 7}}, "InvalidParameterValue"),
        ({"InstanceMarketOptions": {"MarketType": "spot"}}, "Unsupported"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]},
            "InvalidSnapshot.NotFound",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}]},
            "InvalidSnapshotID.Malformed",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 0}}]},
            "InvalidBlockDeviceMapping",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeType": "floppy"}}]},
            "InvalidParameterValue",
        ),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdb", "Ebs": {}}]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/xvda"}] * 2}, "InvalidBlockDeviceMapping"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0}], "SubnetId": "subnet-1"}, "InvalidParameterCombination"),
        ({"NetworkInterfaces": [{"DeviceIndex": 1}]}, "InvalidParameterValue"),
        ({"NetworkInterfaces": [{"DeviceIndex": index} for index in range(3)]}, "AttachmentLimitExceeded"),
    ],
)
async def test_launches_that_are_refused_leave_nothing(cloud, refuse, params, code):
    before = cloud.store.view().revision
    assert await refuse(**params) == code
    assert cloud.store.view().revision == before
    assert nothing_left(cloud)


async def test_an_address_that_is_taken(launch, refuse):
    await launch(PrivateIpAddress="172.31.0.9")
    assert await refuse(PrivateIpAddress="172.31.0.9") == "InvalidIPAddress.InUse"


@pytest.mark.parametrize("parameter", sorted(service_model("ec2").operation_model("RunInstances").input_shape.members))
async def test_a_launch_with_one_senseless_value_is_made_or_refused(roomy, parameter):
    shape = service_model("ec2").operation_model("RunInstances").input_shape.members[parameter]
    plain = {"ImageId": roomy.add_image().id, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    for value in (value for junk in JUNK for value in senseless(shape, junk)):
        try:
            await roomy.call("ec2", "RunInstances", **{**plain, parameter: value})
        except ServiceError as error:
            assert error.status < 500


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Placement": {"HostId": "h-0123456789abcdef0"}}, "InvalidHostID.NotFound"),
        ({"Placement": {"Affinity": "host"}}, "Unsupported"),
        ({"Placement": {"PartitionNumber": 1}}, "Unsupported"),
        (
            {"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": "cr-0"}}},
            "InvalidCapacityReservationId.NotFound",
        ),
    ],
)
async def test_what_is_not_there_is_refused_not_ignored(cloud, refuse, params, code):
    assert await refuse(**params) == code
    assert nothing_left(cloud)


@pytest.mark.parametrize("name", ["disk", "/dev/foo", "/dev/sdb ", "/dev/xvdabc"])
async def test_names_that_are_no_devices(refuse, name):
    assert await refuse(BlockDeviceMappings=[{"DeviceName": name, "Ebs": {"VolumeSize": 1}}]) == (
        "InvalidBlockDeviceMapping"
    )


async def test_volume_types_that_do_not_boot(refuse):
    root = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 500, "VolumeType": "st1"}}
    assert await refuse(BlockDeviceMappings=[root]) == "InvalidBlockDeviceMapping"


@pytest.mark.parametrize("token", ["x" * 65, "caf\u00e9"])
async def test_client_tokens_that_are_none(cloud, refuse, token):
    assert await refuse(ClientToken=token) == "InvalidClientToken"
    assert nothing_left(cloud)
