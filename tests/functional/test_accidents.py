"""What befalls guests, hosts, agents and controllers, and what their owners see of it."""

import asyncio

import pytest
from awaitable_client import Awaitable

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.records import Host, Instance
from pileus.records.instance import CRASHES_BEFORE_STOP, State


@pytest.fixture
def statuses(ec2):
    """``await statuses(id)``: instance, system and volume status."""

    async def tell(instance_id):
        (one,) = (await ec2.describe_instance_status(InstanceIds=[instance_id], IncludeAllInstances=True))[
            "InstanceStatuses"
        ]
        return tuple(one[name]["Status"] for name in ("InstanceStatus", "SystemStatus", "AttachedEbsStatus"))

    return tell


def running(id_, boot=None):
    """Whether an instance runs, at a certain boot."""

    def holds(view):
        one = view.get(Instance, id_)
        settled = one.state is State.RUNNING and one.observed is not None and one.observed.phase == "running"
        return settled and boot in {None, one.boot}

    return holds


async def test_a_crashed_guest_is_started_again(cloud, ec2, launch, described, record):
    (id_,) = await launch()
    before = await described(id_)
    cloud.host_of(id_).crash(id_)
    await cloud.until(running(id_, boot=2))
    assert record(id_).crashes == 1
    assert await described(id_) == before
    assert cloud.host_of(id_).starts == [id_, id_]


async def test_a_guest_that_crashes_again_and_again_is_stopped(cloud, ec2, launch, described, record):
    (id_,) = await launch()
    for crashes in range(CRASHES_BEFORE_STOP):
        await cloud.until(running(id_, boot=crashes + 1))
        cloud.host_of(id_).crash(id_)
    await cloud.until(running(id_, boot=CRASHES_BEFORE_STOP + 1))
    cloud.host_of(id_).crash(id_)
    await ec2.wait("instance_stopped", id_)
    assert (await described(id_))["StateReason"]["Code"] == "Server.InternalError"
    await cloud.settled()
    await ec2.start_instances(InstanceIds=[id_])
    await ec2.wait("instance_running", id_)
    assert record(id_).crashes == 0


async def test_a_guest_whose_owner_wants_no_recovery_is_stopped_at_once(cloud, ec2, launch):
    (id_,) = await launch(MaintenanceOptions={"AutoRecovery": "disabled"})
    cloud.host_of(id_).crash(id_)
    await ec2.wait("instance_stopped", id_)
    assert cloud.host_of(id_).starts == [id_]


async def test_a_guest_that_can_never_be_launched_is_terminated(cloud, ec2):
    cloud.hosts[0].hypervisor.host.fail_next = PermanentError("no such machine")
    answer = await ec2.run_instances(ImageId=cloud.image("tiny"), InstanceType="t3.micro", MinCount=1, MaxCount=1)
    id_ = answer["Instances"][0]["InstanceId"]
    await cloud.settled()
    (ended,) = (await ec2.describe_instances(InstanceIds=[id_]))["Reservations"][0]["Instances"]
    assert (ended["State"]["Name"], ended["StateReason"]["Code"]) == ("terminated", "Server.InternalError")


async def test_a_guest_that_can_be_launched_later_is(cloud, launch):
    cloud.hosts[0].hypervisor.host.fail_next = RetryableError("not now")
    cloud.hosts[0].network.fail_next = RetryableError("nor now")
    cloud.hosts[0].volumes.fail_next = RetryableError("nor now")
    await launch()
    await cloud.settled()


async def test_a_guest_that_panics_is_impaired_until_it_is_rebooted(cloud, ec2, launch, statuses, record):
    (id_,) = await launch()
    await ec2.wait("instance_status_ok", id_)
    cloud.host_of(id_).panic(id_)
    await cloud.until(lambda _: record(id_).observed.impaired)
    assert await statuses(id_) == ("impaired", "ok", "ok")
    wanted = [{"Name": "instance-status.reachability", "Values": ["failed"]}]
    (one,) = (await ec2.describe_instance_status(Filters=wanted))["InstanceStatuses"]
    assert one["InstanceId"] == id_
    await ec2.reboot_instances(InstanceIds=[id_])
    await ec2.wait("instance_status_ok", id_)


async def test_a_host_that_stays_away_is_lost_and_may_come_back(cloud, clock, ec2, launch, statuses, record):
    (id_,) = await launch()
    await cloud.hosts[0].kill_agent()
    clock.advance(8)
    assert await statuses(id_) == ("ok", "ok", "ok")
    await cloud.until(lambda _: not cloud.connected("host-0"))
    clock.advance(11)
    await cloud.until(lambda view: view.get(Host, "host-0").state == "lost")
    assert await statuses(id_) == ("ok", "impaired", "impaired")
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    assert (await ec2.refusal("run_instances", **wanted))[0] == "InsufficientInstanceCapacity"
    assert (await ec2.refusal("get_console_output", InstanceId=id_))[0] == "UnsupportedOperation"
    await ec2.stop_instances(InstanceIds=[id_])
    assert record(id_).state is State.STOPPING

    cloud.hosts[0].start_agent()
    await ec2.wait("instance_stopped", id_)
    await ec2.start_instances(InstanceIds=[id_])
    await ec2.wait("system_status_ok", id_)
    await cloud.settled()


async def test_an_agent_that_restarts_finds_its_guests(cloud, clock, launch, statuses, record):
    ids = await launch(3)
    seen = {id_: record(id_) for id_ in ids}
    for _ in range(3):
        await cloud.hosts[0].kill_agent()
        cloud.hosts[0].start_agent()
        await cloud.until(lambda _: cloud.connected("host-0"))
        clock.advance(11)
    await cloud.settled()
    assert {id_: record(id_).boot for id_ in ids} == dict.fromkeys(ids, 1)
    assert sorted(cloud.hosts[0].hypervisor.host.starts) == sorted(ids)
    assert {id_: record(id_).state for id_ in ids} == {id_: one.state for id_, one in seen.items()}
    assert await statuses(ids[0]) == ("ok", "ok", "ok")


async def test_what_happens_while_an_agent_is_away_is_noticed(cloud, ec2, launch, record):
    crashed, shut_down, stopped = await launch(3)
    await cloud.hosts[0].kill_agent()
    host = cloud.hosts[0].hypervisor.host
    host.crash(crashed)
    host.guest_shutdown(shut_down)
    await ec2.stop_instances(InstanceIds=[stopped])
    cloud.hosts[0].start_agent()
    await ec2.wait("instance_stopped", shut_down, stopped)
    await cloud.until(running(crashed, boot=2))
    await cloud.settled()


async def test_a_host_that_lost_power_starts_its_guests_again(cloud, launch, record):
    ids = await launch(2)
    await cloud.hosts[0].kill_agent()
    cloud.hosts[0].hypervisor.host.restart()
    cloud.hosts[0].start_agent()
    for id_ in ids:
        await cloud.until(running(id_, boot=2))
    await cloud.settled()


async def test_controllers_that_restart_go_on(cloud, clock, ec2, launch, record, statuses):
    kept, stopped, ended, crashed = await launch(4)
    await cloud.kill_controllers()
    await ec2.stop_instances(InstanceIds=[stopped])
    await ec2.terminate_instances(InstanceIds=[ended])
    cloud.hosts[0].hypervisor.host.crash(crashed)
    answer = await ec2.run_instances(ImageId=cloud.image("tiny"), InstanceType="t3.micro", MinCount=1, MaxCount=1)
    fresh = answer["Instances"][0]["InstanceId"]
    assert (await ec2.refusal("get_console_output", InstanceId=kept))[0] == "UnsupportedOperation"
    await cloud.start_controllers()
    await ec2.wait("instance_running", fresh)
    await ec2.wait("instance_stopped", stopped)
    await ec2.wait("instance_terminated", ended)
    await cloud.until(running(crashed, boot=2))
    await cloud.settled()
    assert record(kept).boot == 1
    assert await statuses(kept) == ("ok", "ok", "ok")
    assert (await ec2.get_console_output(InstanceId=ended))["Output"].startswith(f"{ended} boot 1")


async def test_hosts_have_time_to_come_back_to_new_controllers(cloud, clock, launch):
    await cloud.hosts[0].kill_agent()
    await cloud.kill_controllers()
    await cloud.start_controllers()
    await asyncio.sleep(0.1)
    clock.advance(8)
    await asyncio.sleep(0.1)
    assert cloud.store.view().get(Host, "host-0").state == "up"
    clock.advance(4)
    await cloud.until(lambda view: view.get(Host, "host-0").state == "lost")


async def test_a_slow_boot_can_be_called_off(cloud, ec2):
    cloud.hosts[0].hypervisor.host.boot_delay = 3600
    wanted = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 2, "MaxCount": 2}
    stopped, ended = [one["InstanceId"] for one in (await ec2.run_instances(**wanted))["Instances"]]
    await ec2.stop_instances(InstanceIds=[stopped])
    await ec2.terminate_instances(InstanceIds=[ended])
    await ec2.wait("instance_stopped", stopped)
    await ec2.wait("instance_terminated", ended)
    await cloud.settled()
    assert cloud.hosts[0].hypervisor.host.starts == []


async def test_a_gateway_that_restarts_loses_nothing(cloud, launch):
    ids = await launch(2)
    await cloud.stop_gateway()
    await cloud.start_gateway()
    again = Awaitable(cloud.client("ec2"))
    answer = await again.describe_instances(InstanceIds=ids)
    assert len(answer["Reservations"][0]["Instances"]) == 2
