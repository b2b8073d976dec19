"""An instance from launch to oblivion, as a client and its waiters see it."""

import base64
import struct
from datetime import timedelta

import pytest

from pileus.records import Host, IdempotentCall, Instance, NetworkInterface, Volume
from pileus.records.address import pool_scope
from pileus.records.instance import State
from pileus.records.subnet import subnet_scope


def claimed(cloud):
    """All addresses, private and public, that somebody holds."""
    view = cloud.store.view()
    subnets = {interface.subnet_id for interface in view.list(NetworkInterface)}
    held = [view.claims(subnet_scope(subnet)) for subnet in subnets]
    return {**view.claims(pool_scope(cloud.config.default_region)), **{k: v for one in held for k, v in one.items()}}


async def test_from_launch_to_oblivion(cloud, clock, in_time, ec2, launch, described, record):
    (id_,) = await launch(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "one"}]}])
    await ec2.wait("instance_status_ok", id_)
    first = await described(id_)
    assert first["State"] == {"Code": 16, "Name": "running"}
    assert first["Tags"] == [{"Key": "Name", "Value": "one"}]
    assert claimed(cloud).keys() == {first["PrivateIpAddress"], first["PublicIpAddress"]}

    await ec2.reboot_instances(InstanceIds=[id_])
    guests = cloud.host_of(id_).guests
    await cloud.until(lambda _: guests[id_].reset == 1)
    assert (await described(id_))["State"]["Name"] == "running"
    assert guests[id_].boot == 1

    answer = await ec2.stop_instances(InstanceIds=[id_])
    assert answer["StoppingInstances"][0]["PreviousState"]["Name"] == "running"
    await ec2.wait("instance_stopped", id_)
    stopped = await described(id_)
    assert "PublicIpAddress" not in stopped
    assert stopped["PublicDnsName"] == ""
    assert stopped["PrivateIpAddress"] == first["PrivateIpAddress"]
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    assert claimed(cloud).keys() == {first["PrivateIpAddress"]}
    assert [host.used_vcpus for host in cloud.store.view().list(Host)] == [0]

    await ec2.start_instances(InstanceIds=[id_])
    await ec2.wait("instance_running", id_)
    again = await described(id_)
    assert again["PublicIpAddress"] != first["PublicIpAddress"]
    assert again["PrivateIpAddress"] == first["PrivateIpAddress"]
    assert again["BlockDeviceMappings"] == first["BlockDeviceMappings"]
    assert again["LaunchTime"] > first["LaunchTime"]
    assert "StateReason" not in again
    assert record(id_).boot == 2

    await ec2.terminate_instances(InstanceIds=[id_])
    await ec2.wait("instance_terminated", id_)
    await cloud.settled()
    ended = await described(id_)
    assert ended["NetworkInterfaces"] == []
    assert ended["BlockDeviceMappings"] == []
    assert not ended.keys() & {"PrivateIpAddress", "PublicIpAddress", "SubnetId", "VpcId"}
    assert ended["Tags"] == first["Tags"]
    view = cloud.store.view()
    assert (view.list(Volume), view.list(NetworkInterface), claimed(cloud)) == ([], [], {})
    (host,) = cloud.hosts
    assert (host.hypervisor.host.guests, host.volumes.sizes, host.network.spec.vpcs) == ({}, {}, ())

    clock.advance(3500)
    assert (await described(id_))["State"]["Name"] == "terminated"
    await in_time(lambda view: view.get(Instance, id_) is None)
    assert await ec2.refusal("describe_instances", InstanceIds=[id_]) == ("InvalidInstanceID.NotFound", 400)
    assert await ec2.describe_instances() | {"ResponseMetadata": None} == {
        "Reservations": [],
        "ResponseMetadata": None,
    }


async def test_client_tokens_are_remembered_for_a_day(clock, in_time, launch):
    await launch(ClientToken="once")
    before = clock.now()
    await in_time(lambda view: not view.list(IdempotentCall), step=600)
    assert clock.now() - before > timedelta(hours=23, minutes=59)


async def test_a_guest_that_ignores_the_power_button_is_unplugged(cloud, in_time, ec2, launch, record):
    polite, stubborn = await launch(2)
    cloud.host_of(stubborn).ignores_power_button.add(stubborn)
    await ec2.stop_instances(InstanceIds=[polite, stubborn])
    await ec2.wait("instance_stopped", polite)
    assert record(stubborn).state is State.STOPPING
    assert (await ec2.stop_instances(InstanceIds=[stubborn]))["StoppingInstances"][0]["CurrentState"]["Code"] == 64
    await in_time(lambda view: view.get(Instance, stubborn).state is State.STOPPED)


async def test_force_does_not_wait_for_the_guest(cloud, ec2, launch):
    (id_,) = await launch()
    cloud.host_of(id_).ignores_power_button.add(id_)
    await ec2.stop_instances(InstanceIds=[id_])
    await ec2.stop_instances(InstanceIds=[id_], Force=True)
    await ec2.wait("instance_stopped", id_)
    await ec2.start_instances(InstanceIds=[id_])
    await ec2.wait("instance_running", id_)
    await ec2.terminate_instances(InstanceIds=[id_], SkipOsShutdown=True)
    await ec2.wait("instance_terminated", id_)
    await cloud.settled()


async def test_each_state_allows_what_ec2_allows(ec2, launch):
    (id_,) = await launch()
    ids = {"InstanceIds": [id_]}
    assert (await ec2.start_instances(**ids))["StartingInstances"][0]["CurrentState"]["Name"] == "running"
    await ec2.stop_instances(**ids)
    await ec2.wait("instance_stopped", id_)
    assert (await ec2.stop_instances(**ids))["StoppingInstances"][0]["CurrentState"]["Name"] == "stopped"
    assert await ec2.refusal("reboot_instances", **ids) == ("IncorrectInstanceState", 400)
    await ec2.terminate_instances(**ids)
    await ec2.wait("instance_terminated", id_)
    for operation in ("start_instances", "stop_instances", "reboot_instances"):
        assert await ec2.refusal(operation, **ids) == ("IncorrectInstanceState", 400)
    assert (await ec2.terminate_instances(**ids))["TerminatingInstances"][0]["CurrentState"]["Name"] == "terminated"


async def test_protections(ec2, launch):
    (id_,) = await launch(DisableApiTermination=True, DisableApiStop=True)
    assert await ec2.refusal("terminate_instances", InstanceIds=[id_]) == ("OperationNotPermitted", 400)
    assert await ec2.refusal("stop_instances", InstanceIds=[id_]) == ("OperationNotPermitted", 400)
    await ec2.modify_instance_attribute(InstanceId=id_, DisableApiTermination={"Value": False})
    await ec2.terminate_instances(InstanceIds=[id_])
    await ec2.wait("instance_terminated", id_)


async def test_a_root_volume_may_outlive_its_instance(cloud, ec2, launch):
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False, "VolumeSize": 3}}
    (id_,) = await launch(BlockDeviceMappings=[mapping])
    await ec2.terminate_instances(InstanceIds=[id_])
    await ec2.wait("instance_terminated", id_)
    await cloud.settled()
    (volume,) = (await ec2.describe_volumes())["Volumes"]
    assert (volume["State"], volume["Size"], volume["Attachments"]) == ("available", 3, [])


async def test_the_console_is_kept_after_the_end(cloud, ec2, launch):
    (id_,) = await launch()
    cloud.host_of(id_).print(id_, "login:")
    answer = await ec2.get_console_output(InstanceId=id_)
    assert answer["Output"].splitlines() == [f"{id_} boot 1", "login:"]
    picture = base64.b64decode((await ec2.get_console_screenshot(InstanceId=id_))["ImageData"])
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", picture[16:24]) == (64, 48)
    await ec2.terminate_instances(InstanceIds=[id_])
    await ec2.wait("instance_terminated", id_)
    await cloud.settled()
    assert (await ec2.get_console_output(InstanceId=id_))["Output"].splitlines()[-1] == "login:"
    assert await ec2.refusal("get_console_screenshot", InstanceId=id_) == ("IncorrectInstanceState", 400)


async def test_the_host_is_told_what_the_guest_shall_know(cloud, ec2, launch):
    await ec2.create_key_pair(KeyName="me", KeyType="ed25519")
    (id_,) = await launch(
        UserData="#!/bin/sh\necho hello",
        KeyName="me",
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 3, "InstanceMetadataTags": "enabled"},
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "role", "Value": "web"}]}],
        Placement={"AvailabilityZone": "us-east-1b"},
    )

    def guest():
        (spec,) = cloud.hosts[0].spec.guests
        return spec

    told = guest().metadata
    assert guest().uuid.startswith("ec2")
    assert base64.b64decode(told.user_data) == b"#!/bin/sh\necho hello"
    assert (told.instance_id, told.zone, told.account) == (id_, "us-east-1b", cloud.config.account)
    assert (told.tokens_required, told.hop_limit, told.tags) == (True, 3, (("role", "web"),))
    assert told.public_keys[0][0] == "me"
    assert told.public_keys[0][1].startswith("ssh-ed25519 ")
    assert told.interfaces[0].public_addresses

    await ec2.create_tags(Resources=[id_], Tags=[{"Key": "role", "Value": "db"}])
    await cloud.until(lambda _: guest().metadata.tags == (("role", "db"),))
    await ec2.modify_instance_metadata_options(InstanceId=id_, HttpEndpoint="disabled")
    await cloud.until(lambda _: not guest().metadata.endpoint_enabled)


@pytest.mark.parametrize("behaviour", ["stop", "terminate"])
async def test_what_a_shutdown_from_inside_leads_to(cloud, ec2, launch, described, behaviour):
    (id_,) = await launch(InstanceInitiatedShutdownBehavior=behaviour)
    cloud.host_of(id_).guest_shutdown(id_)
    await ec2.wait("instance_stopped" if behaviour == "stop" else "instance_terminated", id_)
    ended = await described(id_)
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert "PublicIpAddress" not in ended
    await cloud.settled()
