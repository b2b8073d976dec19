import pytest
from msgspec.structs import replace

from pileus.records import Volume


def ids(result):
    return [volume["VolumeId"] for volume in result["Volumes"]]


@pytest.fixture
async def volumes(launch):
    """An instance with a root volume of 1 GiB and a data volume of 20 GiB."""
    return await launch(
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/sdb",
                "Ebs": {"VolumeSize": 20, "VolumeType": "gp2", "DeleteOnTermination": False},
            }
        ]
    )


async def test_a_root_volume_as_it_is_drawn(cloud, ec2, image, volumes):
    root = volumes["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    drawn = (await ec2("DescribeVolumes", VolumeIds=[root]))["Volumes"][0]
    now = cloud.clock.now()
    assert drawn == {
        "VolumeId": root,
        "VolumeArn": f"arn:aws:ec2:us-east-1:{cloud.account}:volume/{root}",
        "OwnerId": cloud.account,
        "AvailabilityZone": "us-east-1a",
        "AvailabilityZoneId": "use1-az2",
        "State": "in-use",
        "Size": 1,
        "VolumeType": "gp3",
        "Iops": 3000,
        "Throughput": 125,
        "Encrypted": False,
        "SseType": "none",
        "FastRestored": False,
        "MultiAttachEnabled": False,
        "SnapshotId": image.snapshot_id,
        "CreateTime": now,
        "Operator": {"Managed": False},
        "Attachments": [
            {
                "VolumeId": root,
                "InstanceId": volumes["InstanceId"],
                "Device": "/dev/xvda",
                "State": "attaching",
                "AttachTime": now,
                "DeleteOnTermination": True,
            }
        ],
        "Tags": [],
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attachment.delete-on-termination", "false"),
        ("attachment.device", "/dev/sdb"),
        ("size", "20"),
        ("volume-type", "gp2"),
    ],
)
async def test_filters_that_tell_volumes_apart(ec2, volumes, name, value):
    found = await ec2("DescribeVolumes", Filters=[{"Name": name, "Values": [value]}])
    assert [volume["Size"] for volume in found["Volumes"]] == [20]


async def test_filters_that_both_volumes_pass(cloud, ec2, volumes):
    for name, value in (
        ("attachment.attach-time", "2026-11-23T12:00:00.000Z"),
        ("attachment.instance-id", volumes["InstanceId"]),
        ("attachment.status", "attaching"),
        ("availability-zone", "us-east-1a"),
        ("availability-zone-id", "use1-az2"),
        ("create-time", "2026-11-23*"),
        ("encrypted", "false"),
        ("status", "in-use"),
    ):
        assert len(ids(await ec2("DescribeVolumes", Filters=[{"Name": name, "Values": [value]}]))) == 2, name
    assert ids(await ec2("DescribeVolumes", Filters=[{"Name": "snapshot-id", "Values": ["*"]}])) == [
        volumes["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    ]


async def test_pages_and_ids(ec2, refused, launch):
    await launch(MinCount=7, MaxCount=7)
    first = await ec2("DescribeVolumes", MaxResults=5)
    second = await ec2("DescribeVolumes", MaxResults=5, NextToken=first["NextToken"])
    assert len({*ids(first), *ids(second)}) == 7
    assert await refused("DescribeVolumes", MaxResults=5, VolumeIds=ids(first)) == "InvalidParameterCombination"
    assert await refused("DescribeVolumes", MaxResults=4) == "InvalidParameterValue"
    assert await refused("DescribeVolumes", VolumeIds=["vol-0123456789abcdef0"]) == "InvalidVolume.NotFound"
    assert await refused("DescribeVolumes", VolumeIds=["disk"]) == "InvalidVolumeID.Malformed"


async def test_tags_of_a_launch(ec2, launch):
    tags = [{"Key": "Name", "Value": "data"}]
    await launch(TagSpecifications=[{"ResourceType": "volume", "Tags": tags}])
    assert (await ec2("DescribeVolumes"))["Volumes"][0]["Tags"] == tags


async def test_deleting_volumes_are_still_told(cloud, ec2, volumes):
    volume_id = volumes["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]

    cloud.store.transact(lambda tx: tx.put(replace(tx.get(Volume, volume_id), state="deleting")))
    found = await ec2("DescribeVolumes", Filters=[{"Name": "status", "Values": ["deleting"]}])
    assert ids(found) == [volume_id]
