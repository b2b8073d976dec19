from datetime import timedelta

import pytest

THEIRS = "000000000002"


def ids(result):
    return [image["ImageId"] for image in result["Images"]]


@pytest.fixture
def theirs(cloud):
    """Images of another account: public, private, shared with this one."""
    cloud.of(THEIRS)
    common = {"account": THEIRS, "owner_alias": None, "ssm_path": None}
    return {
        "public": cloud.add_image(name="their-public", tags={"secret": "yes"}, **common),
        "private": cloud.add_image(name="their-private", public=False, **common),
        "shared": cloud.add_image(name="their-shared", public=False, launch_accounts=(cloud.account,), **common),
    }


async def test_an_image_as_it_is_drawn(cloud, ec2, image):
    drawn = (await ec2("DescribeImages", ImageIds=[image.id]))["Images"][0]
    assert drawn["CreationDate"] == "2026-11-23T12:00:00.000Z"
    assert drawn["ImageLocation"] == f"amazon/{image.name}"
    assert (drawn["State"], drawn["Public"], drawn["OwnerId"]) == ("available", True, cloud.account)
    assert drawn["BlockDeviceMappings"] == [
        {
            "DeviceName": "/dev/xvda",
            "Ebs": {
                "SnapshotId": image.snapshot_id,
                "VolumeSize": 1,
                "VolumeType": "gp3",
                "DeleteOnTermination": True,
                "Encrypted": False,
            },
        }
    ]


async def test_who_sees_what(cloud, ec2, image, theirs):
    assert set(ids(await ec2("DescribeImages"))) == {image.id, theirs["public"].id, theirs["shared"].id}
    assert image.id in ids(await cloud.of(THEIRS).call("ec2", "DescribeImages"))
    assert theirs["private"].id in ids(await cloud.of(THEIRS).call("ec2", "DescribeImages"))
    assert ids(await cloud.within("eu-central-1").call("ec2", "DescribeImages")) == []


async def test_images_that_are_not_there(ec2, refused, theirs):
    assert await refused("DescribeImages", ImageIds=["ami-0123456789abcdef0"]) == "InvalidAMIID.NotFound"
    assert await refused("DescribeImages", ImageIds=[theirs["private"].id]) == "InvalidAMIID.NotFound"
    assert await refused("DescribeImages", ImageIds=["tiny"]) == "InvalidAMIID.Malformed"
    for image_id, code in ((theirs["private"].id, "InvalidAMIID.NotFound"), ("tiny", "InvalidAMIID.Malformed")):
        assert await refused("RunInstances", ImageId=image_id, MinCount=1, MaxCount=1) == code


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        (["self"], {"mine"}),
        (["amazon"], {"mine"}),
        ([THEIRS], {"public", "shared"}),
        ([THEIRS, "self"], {"public", "shared", "mine"}),
        (["aws-marketplace"], set()),
    ],
)
async def test_owners(ec2, image, theirs, owners, expected):
    known = {"mine": image.id, **{name: one.id for name, one in theirs.items()}}
    assert set(ids(await ec2("DescribeImages", Owners=owners))) == {known[name] for name in expected}


async def test_executable_users(cloud, ec2, image, theirs):
    assert set(ids(await ec2("DescribeImages", ExecutableUsers=["all"]))) == {image.id, theirs["public"].id}
    assert ids(await ec2("DescribeImages", ExecutableUsers=["self"])) == [theirs["shared"].id]
    assert ids(await ec2("DescribeImages", ExecutableUsers=[cloud.account])) == [theirs["shared"].id]
    assert ids(await ec2("DescribeImages", ExecutableUsers=[THEIRS])) == []


async def test_disabled_images_come_on_demand(cloud, ec2):
    disabled = cloud.add_image(state="disabled")
    assert ids(await ec2("DescribeImages")) == []
    assert ids(await ec2("DescribeImages", IncludeDisabled=True)) == [disabled.id]


async def test_tags_are_their_owners_alone(cloud, ec2, theirs):
    by_tag = [{"Name": "tag:secret", "Values": ["yes"]}]
    assert (await ec2("DescribeImages", ImageIds=[theirs["public"].id]))["Images"][0]["Tags"] == []
    assert ids(await ec2("DescribeImages", Filters=by_tag)) == []
    assert ids(await cloud.of(THEIRS).call("ec2", "DescribeImages", Filters=by_tag)) == [theirs["public"].id]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "debian-12-*"),
        ("architecture", "arm64"),
        ("owner-alias", "amazon"),
        ("creation-date", "2026-11-23T13*"),
        ("block-device-mapping.volume-size", "8"),
        ("root-device-name", "/dev/sda1"),
        ("boot-mode", "uefi"),
        ("description", "Debian"),
        ("public-ssm-parameter-name", "/aws/service/debian/*"),
    ],
)
async def test_filters(cloud, ec2, name, value):
    cloud.add_image(owner_alias=None)
    debian = cloud.add_image(
        name="debian-12-arm64",
        description="Debian",
        architecture="arm64",
        created=cloud.clock.now() + timedelta(hours=1),
        size=8,
        root_device_name="/dev/sda1",
        boot_mode="uefi",
        ssm_path="/aws/service/debian/release/12/latest/arm64",
    )
    assert ids(await ec2("DescribeImages", Filters=[{"Name": name, "Values": [value]}])) == [debian.id]


async def test_pages(cloud, ec2, refused):
    made = [cloud.add_image(name=f"image-{number}").id for number in range(7)]
    first = await ec2("DescribeImages", MaxResults=5)
    second = await ec2("DescribeImages", MaxResults=5, NextToken=first["NextToken"])
    assert sorted(ids(first) + ids(second)) == sorted(made)
    assert "NextToken" not in second
    assert await refused("DescribeImages", MaxResults=5, ImageIds=made[:1]) == "InvalidParameterCombination"


ATTRIBUTES = (
    "blockDeviceMapping bootMode deregistrationProtection description imdsSupport kernel lastLaunchedTime launchPermission "
    "productCodes ramdisk sriovNetSupport tpmSupport uefiData"
)


@pytest.mark.parametrize("name", ATTRIBUTES.split())
async def test_every_attribute_can_be_asked_for(ec2, image, name):
    described = await ec2("DescribeImageAttribute", ImageId=image.id, Attribute=name)
    assert described["ImageId"] == image.id
    assert len(described) == 2


async def test_attributes(cloud, ec2, refused, image, theirs):
    async def describe(name):
        return await ec2("DescribeImageAttribute", ImageId=image.id, Attribute=name)

    assert (await describe("description"))["Description"] == {"Value": "A small image"}
    assert (await describe("launchPermission"))["LaunchPermissions"] == [{"Group": "all"}]
    shared = await cloud.of(THEIRS).call(
        "ec2", "DescribeImageAttribute", ImageId=theirs["shared"].id, Attribute="launchPermission"
    )
    assert shared["LaunchPermissions"] == [{"UserId": cloud.account}]
    assert await refused("DescribeImageAttribute", ImageId=image.id, Attribute="colour") == "InvalidParameterValue"
    assert (
        await refused("DescribeImageAttribute", ImageId=theirs["public"].id, Attribute="description") == "AuthFailure"
    )


async def test_owners_that_are_none(refused):
    for owner in ("someone", "1234", ""):
        assert await refused("DescribeImages", Owners=[owner]) == "InvalidUserID.Malformed"
