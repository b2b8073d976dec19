import base64

import pytest

from pileus.records import Instance
from pileus.records.instance import State


@pytest.fixture
def describe(ec2):
    """``await describe(id, "userData")``: the attribute's own member of the answer."""

    async def attribute(instance_id, name):
        result = await ec2("DescribeInstanceAttribute", InstanceId=instance_id, Attribute=name)
        del result["InstanceId"]
        (value,) = result.values()
        return value

    return attribute


@pytest.fixture
async def running(cloud, launch):
    instance_id = (await launch())["InstanceId"]
    cloud.enter(instance_id, State.RUNNING)
    return instance_id


@pytest.fixture
async def stopped(cloud, running):
    cloud.enter(running, State.STOPPING)
    cloud.enter(running, State.STOPPED)
    return running


@pytest.fixture
async def ended(cloud, launch):
    instance_id = (await launch())["InstanceId"]
    cloud.enter(instance_id, State.SHUTTING_DOWN)
    return instance_id


ATTRIBUTES = """
instanceType kernel ramdisk userData disableApiTermination instanceInitiatedShutdownBehavior rootDeviceName
blockDeviceMapping productCodes sourceDestCheck groupSet ebsOptimized sriovNetSupport enaSupport enclaveOptions disableApiStop
"""


@pytest.mark.parametrize("name", ATTRIBUTES.split())
async def test_every_attribute_can_be_asked_for(describe, running, name):
    await describe(running, name)


async def test_attributes_of_a_plain_launch(describe, image, running):
    assert await describe(running, "instanceType") == {"Value": "t3.micro"}
    assert await describe(running, "userData") == {}
    assert await describe(running, "instanceInitiatedShutdownBehavior") == {"Value": "stop"}
    assert await describe(running, "rootDeviceName") == {"Value": "/dev/xvda"}
    assert await describe(running, "sourceDestCheck") == {"Value": True}
    assert [device["DeviceName"] for device in await describe(running, "blockDeviceMapping")] == ["/dev/xvda"]
    assert [group["GroupName"] for group in await describe(running, "groupSet")] == ["default"]


async def test_attributes_that_are_not_there(refused, running):
    async def code(**params):
        return await refused("DescribeInstanceAttribute", **{"InstanceId": running, "Attribute": "kernel", **params})

    assert await code(Attribute="colour") == "InvalidParameterValue"
    assert await code(InstanceId="i-0123456789abcdef0") == "InvalidInstanceID.NotFound"
    assert await code(InstanceId="me") == "InvalidInstanceID.Malformed"


@pytest.mark.parametrize(
    ("attribute", "parameter", "value"),
    [
        ("disableApiTermination", "DisableApiTermination", True),
        ("disableApiStop", "DisableApiStop", True),
        ("instanceInitiatedShutdownBehavior", "InstanceInitiatedShutdownBehavior", "terminate"),
        ("sourceDestCheck", "SourceDestCheck", False),
    ],
)
async def test_what_can_change_while_it_runs(ec2, describe, running, attribute, parameter, value):
    before = await describe(running, attribute)
    await ec2("ModifyInstanceAttribute", InstanceId=running, **{parameter: {"Value": value}})
    assert await describe(running, attribute) == {"Value": value}
    text = str(before["Value"]).lower()
    await ec2("ModifyInstanceAttribute", InstanceId=running, Attribute=attribute, Value=text)
    assert await describe(running, attribute) == before


@pytest.mark.parametrize(
    ("attribute", "parameter", "value"),
    [
        ("instanceType", "InstanceType", "m5.large"),
        ("ebsOptimized", "EbsOptimized", True),
    ],
)
async def test_what_can_change_while_it_is_stopped(cloud, ec2, describe, stopped, attribute, parameter, value):
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, **{parameter: {"Value": value}})
    assert await describe(stopped, attribute) == {"Value": value}
    await ec2("StartInstances", InstanceIds=[stopped])
    error = await cloud.refusal("ec2", "ModifyInstanceAttribute", InstanceId=stopped, **{parameter: {"Value": value}})
    assert error.code == "IncorrectInstanceState"
    assert error.message == f"The instance '{stopped}' is not in the 'stopped' state."


async def test_user_data_as_bytes_and_as_base64(ec2, describe, refused, stopped):
    script = b"#!/bin/sh\necho hello\n"
    encoded = {"Value": base64.b64encode(script).decode()}
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, UserData={"Value": script})
    assert await describe(stopped, "userData") == encoded
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, UserData={"Value": b""})
    assert await describe(stopped, "userData") == {}
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, Attribute="userData", Value=encoded["Value"])
    assert await describe(stopped, "userData") == encoded
    too_long = {"Value": b"x" * 16385}
    assert await refused("ModifyInstanceAttribute", InstanceId=stopped, UserData=too_long) == "InvalidParameterValue"
    assert (
        await refused("ModifyInstanceAttribute", InstanceId=stopped, Attribute="userData", Value="!")
        == "InvalidUserData.Malformed"
    )


async def test_another_type_must_exist_and_fit(cloud, ec2, refused, stopped):
    async def code(name):
        return await refused("ModifyInstanceAttribute", InstanceId=stopped, InstanceType={"Value": name})

    assert await code("t9.huge") == "InvalidParameterValue"
    assert await code("t4g.micro") == "InvalidParameterValue"
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, EbsOptimized={"Value": True})
    assert await code("t2.micro") == "Unsupported"


async def test_processor_options_belong_to_the_type(cloud, ec2, launch):
    made = await launch(InstanceType="m5.2xlarge", CpuOptions={"CoreCount": 2, "ThreadsPerCore": 1})
    instance_id = made["InstanceId"]
    for state in (State.RUNNING, State.STOPPING, State.STOPPED):
        cloud.enter(instance_id, state)
    await ec2("ModifyInstanceAttribute", InstanceId=instance_id, InstanceType={"Value": "m5.large"})
    drawn = (await ec2("DescribeInstances"))["Reservations"][0]["Instances"][0]
    assert drawn["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}


async def test_volumes_that_stay(ec2, describe, refused, running):
    keep = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
    await ec2("ModifyInstanceAttribute", InstanceId=running, BlockDeviceMappings=keep)
    assert (await describe(running, "blockDeviceMapping"))[0]["Ebs"]["DeleteOnTermination"] is False
    volume = (await ec2("DescribeVolumes"))["Volumes"][0]
    assert volume["Attachments"][0]["DeleteOnTermination"] is False
    without = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": volume["VolumeId"]}}]
    await ec2("ModifyInstanceAttribute", InstanceId=running, BlockDeviceMappings=without)
    assert (await describe(running, "blockDeviceMapping"))[0]["Ebs"]["DeleteOnTermination"] is True
    for wrong, code in (
        ({"DeviceName": "/dev/sdz", "Ebs": {}}, "InvalidInstanceAttributeValue"),
        ({"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-0123456789abcdef0"}}, "InvalidInstanceAttributeValue"),
        ({"DeviceName": "/dev/xvda", "NoDevice": ""}, "InvalidParameterCombination"),
    ):
        assert await refused("ModifyInstanceAttribute", InstanceId=running, BlockDeviceMappings=[wrong]) == code


async def test_groups(cloud, ec2, describe, refused, running):
    group = (await ec2("CreateSecurityGroup", GroupName="web", Description="web"))["GroupId"]
    await ec2("ModifyInstanceAttribute", InstanceId=running, Groups=[group])
    assert await describe(running, "groupSet") == [{"GroupId": group, "GroupName": "web"}]
    missing = ["sg-0123456789abcdef0"]
    assert await refused("ModifyInstanceAttribute", InstanceId=running, Groups=missing) == "InvalidGroup.NotFound"
    assert await refused("ModifyInstanceAttribute", InstanceId=running, Groups=[]) == "MissingParameter"
    many = [
        (await ec2("CreateSecurityGroup", GroupName=f"g{number}", Description="x"))["GroupId"] for number in range(6)
    ]
    code = await refused("ModifyInstanceAttribute", InstanceId=running, Groups=many)
    assert code == "SecurityGroupsPerInterfaceLimitExceeded"


async def test_several_interfaces_have_to_be_named(cloud, refused, launch):
    two = [{"DeviceIndex": 0}, {"DeviceIndex": 1}]
    instance_id = (await launch(NetworkInterfaces=two))["InstanceId"]
    code = await refused("ModifyInstanceAttribute", InstanceId=instance_id, SourceDestCheck={"Value": False})
    assert code == "InvalidInstanceID"


async def test_exactly_one_attribute(cloud, refused, running):
    error = await cloud.refusal("ec2", "ModifyInstanceAttribute", InstanceId=running)
    assert (error.code, error.message) == ("InvalidParameterCombination", "No attributes specified.")
    error = await cloud.refusal(
        "ec2",
        "ModifyInstanceAttribute",
        InstanceId=running,
        DisableApiStop={"Value": True},
        DisableApiTermination={"Value": True},
    )
    assert error.code == "InvalidParameterCombination"
    assert error.message == "Fields for multiple attribute types specified: disableApiStop, disableApiTermination"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Attribute": "disableApiTermination"}, "MissingParameter"),
        ({"DisableApiTermination": {}}, "MissingParameter"),
        ({"Attribute": "groupSet", "Value": "sg-1"}, "MissingParameter"),
        ({"Attribute": "disableApiTermination", "Value": "maybe"}, "InvalidParameterValue"),
        ({"Attribute": "rootDeviceName", "Value": "/dev/sda"}, "InvalidParameterValue"),
        ({"Attribute": "colour", "Value": "red"}, "InvalidParameterValue"),
        ({"InstanceInitiatedShutdownBehavior": {"Value": "explode"}}, "InvalidParameterValue"),
        ({"InstanceType": {"Value": "m5.large"}}, "IncorrectInstanceState"),
        ({"UserData": {"Value": b"x"}}, "IncorrectInstanceState"),
    ],
)
async def test_values_that_are_refused(refused, running, params, code):
    assert await refused("ModifyInstanceAttribute", InstanceId=running, **params) == code


@pytest.mark.parametrize(
    "params",
    [
        {"EnaSupport": {"Value": False}},
        {"EnclaveOptions": {"Enabled": True}},
        {"SriovNetSupport": {"Value": "simple"}},
        {"Kernel": {"Value": "aki-12345678"}},
        {"Ramdisk": {"Value": "ari-12345678"}},
    ],
)
async def test_what_this_cloud_has_not(refused, stopped, params):
    assert await refused("ModifyInstanceAttribute", InstanceId=stopped, **params) == "Unsupported"


async def test_what_is_so_already(ec2, stopped):
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, EnaSupport={"Value": True})
    await ec2("ModifyInstanceAttribute", InstanceId=stopped, EnclaveOptions={"Enabled": False})


async def test_nothing_changes_at_the_end(refused, ended):
    for params in ({"DisableApiStop": {"Value": True}}, {"InstanceType": {"Value": "m5.large"}}):
        assert await refused("ModifyInstanceAttribute", InstanceId=ended, **params) == "IncorrectInstanceState"


async def test_protections_protect(ec2, refused, running):
    await ec2("ModifyInstanceAttribute", InstanceId=running, DisableApiStop={"Value": True})
    assert await refused("StopInstances", InstanceIds=[running]) == "OperationNotPermitted"
    await ec2("ModifyInstanceAttribute", InstanceId=running, DisableApiTermination={"Value": True})
    assert await refused("TerminateInstances", InstanceIds=[running]) == "OperationNotPermitted"


async def test_resetting(ec2, describe, refused, running):
    await ec2("ModifyInstanceAttribute", InstanceId=running, SourceDestCheck={"Value": False})
    await ec2("ResetInstanceAttribute", InstanceId=running, Attribute="sourceDestCheck")
    assert await describe(running, "sourceDestCheck") == {"Value": True}
    assert await refused("ResetInstanceAttribute", InstanceId=running, Attribute="kernel") == "IncorrectInstanceState"
    assert await refused("ResetInstanceAttribute", InstanceId=running, Attribute="userData") == "InvalidParameterValue"


async def test_resetting_a_stopped_one(ec2, stopped):
    await ec2("ResetInstanceAttribute", InstanceId=stopped, Attribute="kernel")
    await ec2("ResetInstanceAttribute", InstanceId=stopped, Attribute="ramdisk")


async def test_metadata_options(cloud, ec2, running):
    changed = await ec2(
        "ModifyInstanceMetadataOptions",
        InstanceId=running,
        HttpTokens="required",
        HttpPutResponseHopLimit=3,
        InstanceMetadataTags="enabled",
    )
    assert changed["InstanceMetadataOptions"] == {
        "State": "pending",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 3,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "enabled",
    }
    await ec2("ModifyInstanceMetadataOptions", InstanceId=running, HttpEndpoint="disabled")
    drawn = (await ec2("DescribeInstances"))["Reservations"][0]["Instances"][0]["MetadataOptions"]
    assert (drawn["HttpEndpoint"], drawn["HttpTokens"], drawn["State"]) == ("disabled", "required", "applied")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "InvalidParameterCombination"),
        ({"HttpTokens": "maybe"}, "InvalidParameterValue"),
        ({"HttpPutResponseHopLimit": 0}, "InvalidParameterValue"),
        ({"HttpPutResponseHopLimit": 65}, "InvalidParameterValue"),
        ({"HttpEndpoint": "disabled", "HttpTokens": "required"}, "InvalidParameterCombination"),
    ],
)
async def test_metadata_options_that_are_refused(refused, running, ended, params, code):
    assert await refused("ModifyInstanceMetadataOptions", InstanceId=running, **params) == code
    assert await refused("ModifyInstanceMetadataOptions", InstanceId=ended, **params) == "IncorrectInstanceState"


async def test_monitoring(ec2, refused, running, ended):
    on = await ec2("MonitorInstances", InstanceIds=[running, running])
    assert on == {"InstanceMonitorings": [{"InstanceId": running, "Monitoring": {"State": "enabled"}}]}
    found = await ec2("DescribeInstances", Filters=[{"Name": "monitoring-state", "Values": ["enabled"]}])
    assert found["Reservations"][0]["Instances"][0]["InstanceId"] == running
    off = await ec2("UnmonitorInstances", InstanceIds=[running])
    assert off["InstanceMonitorings"][0]["Monitoring"] == {"State": "disabled"}
    assert await refused("MonitorInstances", InstanceIds=[running, ended]) == "IncorrectInstanceState"
    assert await refused("MonitorInstances", InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"


def credits_of(result):
    return {one["InstanceId"]: one["CpuCredits"] for one in result["InstanceCreditSpecifications"]}


async def test_credit_options(ec2, refused, launch):
    ids = {
        name: (await launch(InstanceType=name, **more))["InstanceId"]
        for name, more in {
            "t2.micro": {},
            "t3.micro": {},
            "t3a.micro": {"CreditSpecification": {"CpuCredits": "standard"}},
            "m5.large": {},
        }.items()
    }
    everything = await ec2("DescribeInstanceCreditSpecifications", InstanceIds=list(ids.values()))
    assert credits_of(everything) == {
        ids["t2.micro"]: "standard",
        ids["t3.micro"]: "unlimited",
        ids["t3a.micro"]: "standard",
        ids["m5.large"]: "standard",
    }
    assert credits_of(await ec2("DescribeInstanceCreditSpecifications")) == {ids["t3.micro"]: "unlimited"}
    by_id = [{"Name": "instance-id", "Values": [ids["t2.micro"]]}]
    assert credits_of(await ec2("DescribeInstanceCreditSpecifications", Filters=by_id)) == {}
    missing = ["i-0123456789abcdef0"]
    assert await refused("DescribeInstanceCreditSpecifications", InstanceIds=missing) == "InvalidInstanceID.NotFound"

    changed = await ec2(
        "ModifyInstanceCreditSpecification",
        InstanceCreditSpecifications=[
            {"InstanceId": ids["t2.micro"], "CpuCredits": "unlimited"},
            {"InstanceId": ids["m5.large"], "CpuCredits": "unlimited"},
            {"InstanceId": missing[0], "CpuCredits": "unlimited"},
            {"InstanceId": "x", "CpuCredits": "standard"},
        ],
    )
    assert changed["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": ids["t2.micro"]}]
    assert [one["Error"]["Code"] for one in changed["UnsuccessfulInstanceCreditSpecifications"]] == [
        "InstanceCreditSpecification.NotSupported",
        "InvalidInstanceID.NotFound",
        "InvalidInstanceID.Malformed",
    ]
    assert set(credits_of(await ec2("DescribeInstanceCreditSpecifications"))) == {ids["t2.micro"], ids["t3.micro"]}


async def test_credit_options_that_are_refused(refused, running):
    twice = [{"InstanceId": running, "CpuCredits": "standard"}] * 2
    code = await refused("ModifyInstanceCreditSpecification", InstanceCreditSpecifications=twice)
    assert code == "InvalidInstanceCreditSpecification.DuplicateInstanceId"
    wrong = [{"InstanceId": running, "CpuCredits": "free"}]
    assert (
        await refused("ModifyInstanceCreditSpecification", InstanceCreditSpecifications=wrong)
        == "InvalidParameterValue"
    )


async def test_a_repeated_credit_change_is_made_once(cloud, ec2, running):
    async def change(option):
        return await ec2(
            "ModifyInstanceCreditSpecification",
            ClientToken="once",
            InstanceCreditSpecifications=[{"InstanceId": running, "CpuCredits": option}],
        )

    first = await change("standard")
    version = cloud.store.view().get(Instance, running).version
    assert await change("standard") == first
    assert cloud.store.view().get(Instance, running).version == version
    error = await cloud.refusal(
        "ec2",
        "ModifyInstanceCreditSpecification",
        ClientToken="once",
        InstanceCreditSpecifications=[{"InstanceId": running, "CpuCredits": "unlimited"}],
    )
    assert error.code == "IdempotentParameterMismatch"
