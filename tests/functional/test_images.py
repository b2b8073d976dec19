"""Images on simulated hosts: of instances, of snapshots, copied, shared and ended."""

import asyncio
from datetime import timedelta

import pytest
from awaitable_client import Awaitable
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.records import Image, Instance, Snapshot, Volume
from pileus.records.instance import State
from pileus.testing.cloud import SimulatedCloud

THEIRS = "000000000002"
TWO_REGIONS = Config(
    regions=(RegionConfig(), RegionConfig(name="eu-central-1", public_pool=("198.51.100.0/24",))),
)


@pytest.fixture
async def cloud(directory, clock):
    async with SimulatedCloud(directory, config=TWO_REGIONS, clock=clock) as running:
        yield running


@pytest.fixture
def images(cloud):
    """``images(id)``: what the store knows of an image."""
    return lambda image_id: cloud.store.view().get(Image, image_id)


@pytest.fixture
def made(cloud, ec2, images):
    """``await made(instance_id, name)``: an image of an instance, available."""

    async def make(instance_id, name="mine", **params):
        image = (await ec2.create_image(InstanceId=instance_id, Name=name, **params))["ImageId"]
        await cloud.until(lambda _: images(image).state != "pending" and not images(image).rebooting)
        assert images(image).state == "available", images(image).state_reason
        return image

    return make


@pytest.fixture
def theirs(cloud):
    return Awaitable(cloud.client("ec2", credentials=cloud.add_account(THEIRS)))


def ids(answer):
    return {image["ImageId"] for image in answer["Images"]}


async def test_an_image_of_an_instance_that_reboots_for_it(cloud, ec2, launch, record, images):
    (instance,) = await launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 2}}])
    before = record(instance)
    host = cloud.hosts[0]
    original, gate = host.volumes.upload, asyncio.Event()

    async def slow(spec, on_progress):
        await gate.wait()
        return await original(spec, on_progress)

    host.volumes.upload = slow
    answer = await ec2.create_image(
        InstanceId=instance,
        Name="mine",
        Description="as it was",
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    image = answer["ImageId"]
    await cloud.until(lambda _: not images(image).rebooting)
    assert images(image).state == "pending", "the instance need not wait for the upload"
    gate.set()
    await cloud.until(lambda _: images(image).state == "available")
    await cloud.until(lambda _: record(instance).observed is not None and record(instance).observed.phase == "running")
    after = record(instance)
    assert (after.state, after.boot, after.imaging) == (State.RUNNING, before.boot + 1, None)
    (told,) = (await ec2.describe_images(ImageIds=[image]))["Images"]
    assert (told["State"], told["Name"], told["Description"]) == ("available", "mine", "as it was")
    assert (told["SourceInstanceId"], told["SourceImageId"]) == (instance, cloud.image("tiny"))
    assert told["Tags"] == [{"Key": "a", "Value": "b"}]
    devices = {one["DeviceName"]: one["Ebs"] for one in told["BlockDeviceMappings"]}
    assert {name: one["VolumeSize"] for name, one in devices.items()} == {"/dev/xvda": 1, "/dev/sdf": 2}
    snapshots = [cloud.store.view().get(Snapshot, one["SnapshotId"]) for one in devices.values()]
    assert len({one.group for one in snapshots}) == 1
    assert all(one.state == "completed" for one in snapshots)
    await cloud.settled()


async def test_its_snapshots_are_taken_while_it_is_down(cloud, ec2, launch, record, images):
    (instance,) = await launch()
    host = cloud.hosts[0]
    seen = []
    original = host.volumes.covered

    async def spy(volume_id):
        seen.append(instance in {guest.instance_id for guest in await host.hypervisor.observe() if guest.running})
        return await original(volume_id)

    host.volumes.covered = spy
    image = (await ec2.create_image(InstanceId=instance, Name="down"))["ImageId"]
    await cloud.until(lambda _: images(image).state == "available")
    assert seen == [False]
    await cloud.until(lambda _: record(instance).observed is not None and record(instance).observed.phase == "running")
    image = (await ec2.create_image(InstanceId=instance, Name="running", NoReboot=True))["ImageId"]
    await cloud.until(lambda _: images(image).state == "available")
    assert seen == [False, True]


async def test_without_a_reboot_the_instance_runs_on(cloud, launch, record, made):
    (instance,) = await launch()
    before = record(instance).boot
    await made(instance, NoReboot=True)
    assert record(instance).boot == before


async def test_an_instance_of_the_image_starts_as_it_was(cloud, ec2, launch, made, described, images):
    (instance,) = await launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 2}}])
    image = await made(instance, NoReboot=True)
    (twin,) = await launch(ImageId=image)
    shown = await described(twin)
    assert shown["ImageId"] == image
    assert {one["DeviceName"] for one in shown["BlockDeviceMappings"]} == {"/dev/xvda", "/dev/sdf"}
    view = cloud.store.view()
    assert view.get(Instance, twin).image_content == view.get(Instance, instance).image_content
    sources = {volume.source_root for volume in view.list(Volume, instance_id=twin)}
    assert sources == {view.get(Snapshot, id_).root for id_ in images(image).snapshot_ids}
    (told,) = (await ec2.describe_images(ImageIds=[image]))["Images"]
    assert told["LastLaunchedTime"]


async def test_mappings_of_the_call(cloud, ec2, launch, made, images):
    devices = [{"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1}} for letter in "fg"]
    (instance,) = await launch(BlockDeviceMappings=devices)
    image = await made(
        instance,
        NoReboot=True,
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sdf", "NoDevice": ""},
            {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 3, "DeleteOnTermination": False, "VolumeType": "gp3"}},
            {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 7, "VolumeType": "gp2"}},
            {"DeviceName": "/dev/sdi", "VirtualName": "ephemeral0"},
        ],
    )
    by_name = {device.device_name: device for device in images(image).devices}
    assert set(by_name) == {"/dev/xvda", "/dev/sdg", "/dev/sdh", "/dev/sdi"}
    assert (by_name["/dev/sdg"].size, by_name["/dev/sdg"].delete_on_termination) == (3, False)
    assert (by_name["/dev/sdh"].snapshot_id, by_name["/dev/sdh"].size) == (None, 7)
    assert by_name["/dev/sdi"].virtual_name == "ephemeral0"
    for wrong in (
        {"DeviceName": "/dev/xvda", "NoDevice": ""},
        {"DeviceName": "/dev/sdg", "Ebs": {"Encrypted": True}},
        {"DeviceName": "/dev/nonsense", "Ebs": {"VolumeSize": 1}},
    ):
        refused = await ec2.refusal("create_image", InstanceId=instance, Name="wrong", BlockDeviceMappings=[wrong])
        assert refused == ("InvalidBlockDeviceMapping", 400)


async def test_names(cloud, ec2, launch, made):
    (instance,) = await launch()
    image = await made(instance, "the name", NoReboot=True)
    refused = await ec2.refusal("create_image", InstanceId=instance, Name="the name", NoReboot=True)
    assert refused == ("InvalidAMIName.Duplicate", 400)
    for name in ("x" * 129, "semi;colon"):
        assert await ec2.refusal("create_image", InstanceId=instance, Name=name) == ("InvalidAMIName.Malformed", 400)
    await ec2.deregister_image(ImageId=image)
    await made(instance, "the name", NoReboot=True)


async def test_an_image_whose_snapshot_is_gone_fails(cloud, ec2, launch, images):
    (instance,) = await launch()
    gate = asyncio.Event()
    host = cloud.hosts[0]

    async def never(spec, on_progress):
        await gate.wait()
        raise AssertionError

    host.volumes.upload = never
    image = (await ec2.create_image(InstanceId=instance, Name="doomed", NoReboot=True))["ImageId"]
    cloud.store.transact(lambda tx: tx.delete(tx.get(Snapshot, images(image).snapshot_id)))
    await cloud.until(lambda _: images(image).state == "failed")
    (told,) = (await ec2.describe_images(ImageIds=[image]))["Images"]
    assert "deleted" in told["StateReason"]["Message"]
    refused = await ec2.refusal("run_instances", ImageId=image, MinCount=1, MaxCount=1)
    assert refused == ("InvalidAMIID.Unavailable", 400)


@pytest.mark.parametrize("ending", ["terminate_instances", "stop_instances"])
async def test_an_instance_that_ends_while_it_is_imaged(cloud, ec2, launch, record, images, ending):
    (instance,) = await launch()
    image = (await ec2.create_image(InstanceId=instance, Name="racing"))["ImageId"]
    await getattr(ec2, ending)(InstanceIds=[instance])
    await cloud.until(lambda _: images(image).state == "available" and not images(image).rebooting)
    assert record(instance).imaging is None
    await cloud.settled()
    if ending == "stop_instances":
        await ec2.start_instances(InstanceIds=[instance])
        await ec2.wait("instance_running", instance)


async def test_controllers_and_agents_that_die_in_the_middle(cloud, ec2, launch, record, images):
    (instance,) = await launch()
    image = (await ec2.create_image(InstanceId=instance, Name="hard times"))["ImageId"]
    for _ in range(3):
        await cloud.hosts[0].kill_agent()
        await cloud.kill_controllers()
        await cloud.start_controllers()
        cloud.hosts[0].start_agent()
        await asyncio.sleep(0.05)
    await cloud.until(lambda _: images(image).state == "available" and not images(image).rebooting)
    await cloud.settled()
    assert record(instance).state is State.RUNNING


async def test_registering_an_image_of_a_snapshot(cloud, ec2, launch, made, images):
    (instance,) = await launch()
    snapshot = images(await made(instance, NoReboot=True)).snapshot_id
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}
    answer = await ec2.register_image(
        Name="registered",
        Architecture="x86_64",
        RootDeviceName="/dev/xvda",
        VirtualizationType="hvm",
        BlockDeviceMappings=[root, {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 5, "VolumeType": "gp3"}}],
        EnaSupport=True,
        BootMode="uefi-preferred",
    )
    (told,) = (await ec2.describe_images(ImageIds=[answer["ImageId"]]))["Images"]
    assert (told["State"], told["BootMode"], told["EnaSupport"]) == ("available", "uefi-preferred", True)
    assert [one["DeviceName"] for one in told["BlockDeviceMappings"]] == ["/dev/xvda", "/dev/sdb"]
    (twin,) = await launch(ImageId=answer["ImageId"])
    assert cloud.store.view().get(Instance, twin).image_content == images(answer["ImageId"]).boot_content
    assert await ec2.refusal("delete_snapshot", SnapshotId=snapshot) == ("InvalidSnapshot.InUse", 400)
    common = {"Architecture": "x86_64", "RootDeviceName": "/dev/xvda"}
    for name, params, code in (
        ("registered", {"BlockDeviceMappings": [root]}, "InvalidAMIName.Duplicate"),
        ("no root", {"BlockDeviceMappings": []}, "InvalidBlockDeviceMapping"),
        (
            "no snapshot",
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 1}}]},
            "InvalidBlockDeviceMapping",
        ),
        ("from S3", {"ImageLocation": "bucket/image.manifest.xml"}, "Unsupported"),
        ("old", {"BlockDeviceMappings": [root], "VirtualizationType": "paravirtual"}, "Unsupported"),
        ("odd", {"BlockDeviceMappings": [root], "BootMode": "coreboot"}, "InvalidParameterValue"),
    ):
        assert await ec2.refusal("register_image", Name=name, **{**common, **params}) == (code, 400), name


async def test_deregistering_with_snapshots(cloud, ec2, launch, made, images):
    (instance,) = await launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}])
    image = await made(instance, NoReboot=True)
    root, data = images(image).snapshot_ids
    other = await ec2.register_image(
        Name="other",
        Architecture="x86_64",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": root}}],
    )
    answer = await ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)
    results = {one["SnapshotId"]: one["ReturnCode"] for one in answer["DeleteSnapshotResults"]}
    assert results == {root: "skipped", data: "success"}
    assert await ec2.refusal("describe_images", ImageIds=[image]) == ("InvalidAMIID.NotFound", 400)
    await ec2.deregister_image(ImageId=other["ImageId"])
    await ec2.delete_snapshot(SnapshotId=root)


async def test_sharing(cloud, ec2, theirs, launch, made):
    (instance,) = await launch()
    image = await made(instance, NoReboot=True)
    assert await theirs.refusal("describe_images", ImageIds=[image]) == ("InvalidAMIID.NotFound", 400)
    await ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": THEIRS}]})
    assert image in ids(await theirs.describe_images(ExecutableUsers=["self"]))
    answer = await theirs.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    await theirs.wait("instance_running", answer["Instances"][0]["InstanceId"])
    for refused in (
        theirs.refusal("deregister_image", ImageId=image),
        theirs.refusal("modify_image_attribute", ImageId=image, Attribute="description", Value="mine now"),
    ):
        assert await refused == ("AuthFailure", 400)
    source = {"SourceRegion": cloud.config.default_region, "SourceImageId": image}
    assert await theirs.refusal("copy_image", Name="copy", **source) == ("InvalidRequest", 400)
    organization = "arn:aws:organizations::123456789012:organization/o-abcdefghij"
    await ec2.modify_image_attribute(
        ImageId=image, Attribute="launchPermission", OperationType="add", UserGroups=["all"]
    )
    await ec2.modify_image_attribute(ImageId=image, OperationType="add", OrganizationArns=[organization])
    told = await ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    assert told["LaunchPermissions"] == [{"Group": "all"}, {"UserId": THEIRS}, {"OrganizationArn": organization}]
    await ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission")
    assert await theirs.refusal("describe_images", ImageIds=[image]) == ("InvalidAMIID.NotFound", 400)
    await ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    public = {"Add": [{"Group": "all"}]}
    refused = await ec2.refusal("modify_image_attribute", ImageId=image, LaunchPermission=public)
    assert refused == ("OperationNotPermitted", 400)
    await ec2.disable_image_block_public_access()
    await ec2.modify_image_attribute(ImageId=image, LaunchPermission=public)
    for permission in ({"UserId": "someone"}, {"Group": "some"}, {"OrganizationArn": "arn:aws:iam::1:root"}):
        refused = await ec2.refusal("modify_image_attribute", ImageId=image, LaunchPermission={"Add": [permission]})
        assert refused == ("InvalidAMIAttributeItemValue", 400)


async def test_attributes(ec2, launch, made):
    (instance,) = await launch()
    image = await made(instance, NoReboot=True)
    await ec2.modify_image_attribute(ImageId=image, Description={"Value": "anew"})
    await ec2.modify_image_attribute(ImageId=image, ImdsSupport={"Value": "v2.0"})
    (told,) = (await ec2.describe_images(ImageIds=[image]))["Images"]
    assert (told["Description"], told["ImdsSupport"]) == ("anew", "v2.0")
    both = {"Description": {"Value": "x"}, "ImdsSupport": {"Value": "v2.0"}}
    refused = await ec2.refusal("modify_image_attribute", ImageId=image, **both)
    assert refused == ("InvalidParameterCombination", 400)


async def test_copies_in_another_region(cloud, ec2, launch, made, images):
    (instance,) = await launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}])
    image = await made(instance, NoReboot=True)
    far = Awaitable(cloud.client("ec2", region="eu-central-1"))
    source = {"SourceRegion": cloud.config.default_region, "SourceImageId": image}
    copied = (await far.copy_image(Name="far", CopyImageTags=True, ClientToken="once", **source))["ImageId"]
    assert (await far.copy_image(Name="far", CopyImageTags=True, ClientToken="once", **source))["ImageId"] == copied
    (told,) = (await far.describe_images(ImageIds=[copied]))["Images"]
    assert (told["State"], told["SourceImageId"], told["SourceImageRegion"]) == (
        "available",
        image,
        cloud.config.default_region,
    )
    assert len(set(images(copied).snapshot_ids) | set(images(image).snapshot_ids)) == 4
    answer = await far.run_instances(ImageId=copied, MinCount=1, MaxCount=1, InstanceType="t3.micro")
    await far.wait("instance_running", answer["Instances"][0]["InstanceId"])
    sealed = (await far.copy_image(Name="sealed", Encrypted=True, **source))["ImageId"]
    await cloud.until(lambda _: images(sealed).state != "pending")
    (told,) = (await far.describe_images(ImageIds=[sealed]))["Images"]
    assert told["State"] == "available"
    assert all(one["Ebs"]["Encrypted"] for one in told["BlockDeviceMappings"])
    shared = await far.refusal("modify_image_attribute", ImageId=sealed, OperationType="add", UserIds=[THEIRS])
    assert shared == ("OperationNotPermitted", 400)
    nowhere = {"SourceRegion": "mars-north-1", "SourceImageId": image}
    assert await far.refusal("copy_image", Name="nowhere", **nowhere) == ("InvalidParameterValue", 400)


async def test_copying_a_built_in_image(cloud, ec2, launch, images):
    source = {"SourceRegion": cloud.config.default_region, "SourceImageId": cloud.image("tiny")}
    copied = (await ec2.copy_image(Name="my tiny", **source))["ImageId"]
    assert images(copied).content == images(cloud.image("tiny")).content
    assert not images(copied).public
    await launch(ImageId=copied)
    assert await ec2.refusal("copy_image", Name="sealed tiny", Encrypted=True, **source) == ("Unsupported", 400)


async def test_turning_off_and_on(cloud, ec2, theirs, launch, made):
    (instance,) = await launch()
    image = await made(instance, NoReboot=True)
    await ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": THEIRS}]})
    await ec2.disable_image(ImageId=image)
    assert image not in ids(await ec2.describe_images(Owners=["self"]))
    assert image in ids(await ec2.describe_images(Owners=["self"], IncludeDisabled=True))
    refused = await ec2.refusal("run_instances", ImageId=image, MinCount=1, MaxCount=1)
    assert refused == ("InvalidAMIID.Unavailable", 400)
    assert image not in ids(await theirs.describe_images(IncludeDisabled=True))
    await ec2.enable_image(ImageId=image)
    await launch(ImageId=image)


async def test_deprecation(cloud, ec2, theirs, launch, made, clock):
    (instance,) = await launch()
    image = await made(instance, NoReboot=True)
    await ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": THEIRS}]})
    past, soon = clock.now() - timedelta(hours=1), clock.now() + timedelta(hours=1)
    assert await ec2.refusal("enable_image_deprecation", ImageId=image, DeprecateAt=past) == (
        "InvalidParameterValue",
        400,
    )
    await ec2.enable_image_deprecation(ImageId=image, DeprecateAt=soon)
    (told,) = (await ec2.describe_images(ImageIds=[image]))["Images"]
    assert told["DeprecationTime"].startswith(f"{soon + timedelta(seconds=30):%Y-%m-%dT%H:%M}")
    assert image in ids(await theirs.describe_images())
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(Image, image), deprecated=past)))
    assert image not in ids(await theirs.describe_images())
    assert image in ids(await theirs.describe_images(IncludeDeprecated=True))
    assert image in ids(await ec2.describe_images(Owners=["self"]))
    await ec2.disable_image_deprecation(ImageId=image)
    assert image in ids(await theirs.describe_images())


async def test_protection(cloud, ec2, launch, made, clock):
    (instance,) = await launch()
    image = await made(instance, NoReboot=True)
    await ec2.enable_image_deregistration_protection(ImageId=image, WithCooldown=True)
    assert await ec2.refusal("deregister_image", ImageId=image) == ("OperationNotPermitted", 400)
    await ec2.disable_image_deregistration_protection(ImageId=image)
    assert await ec2.refusal("deregister_image", ImageId=image) == ("OperationNotPermitted", 400)
    await ec2.enable_image_deregistration_protection(ImageId=image)
    await ec2.disable_image_deregistration_protection(ImageId=image)
    await ec2.deregister_image(ImageId=image)


async def test_allowed_images(cloud, ec2, theirs, launch, made):
    (instance,) = await launch()
    mine = await made(instance, NoReboot=True)
    tiny, debian = cloud.image("tiny"), cloud.image("debian-12")
    await ec2.replace_image_criteria_in_allowed_images_settings(
        ImageCriteria=[{"ImageProviders": ["amazon"], "ImageNames": ["debian-*"]}]
    )
    await ec2.enable_allowed_images_settings(AllowedImagesSettingsState="audit-mode")
    told = {one["ImageId"]: one["ImageAllowed"] for one in (await ec2.describe_images())["Images"]}
    assert told == {mine: True, tiny: False, debian: True}
    await launch(ImageId=tiny)
    await ec2.enable_allowed_images_settings(AllowedImagesSettingsState="enabled")
    assert ids(await ec2.describe_images()) == {mine, debian}
    refused = await ec2.refusal("run_instances", ImageId=tiny, MinCount=1, MaxCount=1)
    assert refused == ("InvalidAMIID.NotFound", 400)
    settings = await ec2.get_allowed_images_settings()
    assert (settings["State"], len(settings["ImageCriteria"])) == ("enabled", 1)
    await ec2.disable_allowed_images_settings()
    assert tiny in ids(await ec2.describe_images())
