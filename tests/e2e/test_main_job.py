"""The main job: launch, log in, and what an owner does next. Real guests, real packets, the clients that people use."""

from typing import Any

import pytest
from e2e_guests import Launcher

pytestmark = [pytest.mark.vm, pytest.mark.root, pytest.mark.slow]


def test_log_in_and_find_what_was_asked_for(launch: Launcher, ec2: Any) -> None:
    guest = launch("tiny", UserData="#!/bin/sh\necho from user data > /tmp/hello\n")[0]
    ec2.get_waiter("instance_running").wait(InstanceIds=[guest.id], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    login = guest.login()
    seen = guest.describe()
    assert login.run("hostname").split(".")[0] == f"ip-{seen['PrivateIpAddress'].replace('.', '-')}"
    assert login.run("nproc") == "2"
    assert login.run("cat /tmp/hello") == "from user data"
