"""The crash storm over ``pileus up --simulate``: real processes, killed at random; nothing acknowledged is lost or leaked."""

import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config as ClientConfig

from pileus.base.clock import SystemClock
from pileus.cmd import cloud
from pileus.cmd.layout import Layout
from pileus.records import KINDS, Host, Image, Instance, NetworkInterface, Volume
from pileus.store import open_store
from pileus.testing.consistency import problems, unsettled
from pileus.testing.storm import Owner, kill_one, rage

SECONDS = 15
OWNERS = 4


@pytest.fixture
def layout():
    """A running simulated cloud of two hosts in a directory of its own, on a free port."""
    root = Path(tempfile.mkdtemp(prefix="pileus-storm-"))
    root.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (root / "config.toml").write_text(f"port = {port}\nsimulated_hosts = 2\n")
    pileus(root, "up", "--simulate")
    yield Layout(root)
    pileus(root, "down")
    shutil.rmtree(root)


def pileus(root, *words):
    subprocess.run([sys.executable, "-m", "pileus.cmd.main", "--data-dir", str(root), *words], check=True, timeout=120)


def client(layout, settings):
    keys = cloud.credentials(layout)
    return botocore.session.Session().create_client(
        "ec2",
        settings.default_region,
        endpoint_url=cloud.endpoint(settings),
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        config=ClientConfig(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
    )


def until(holds, patience=90):
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it does not come to rest"
        time.sleep(0.05)


@pytest.mark.slow
def test_storm(layout):
    chance = random.Random(20261123)
    settings = layout.load_config()
    store = open_store(layout.store_url(settings), KINDS, SystemClock())
    supervisor = cloud.supervisor_pid(layout)
    image = next(one for one in store.view().list(Image) if one.family == "tiny").id
    launch = {"ImageId": image, "InstanceType": "t3.micro"}
    owners = [Owner(client(layout, settings), launch, random.Random(number), most=6) for number in range(OWNERS)]
    killed = Counter()
    rage(owners, lambda: killed.update([kill_one(supervisor, chance)]), SECONDS, chance)
    assert {"api", "controller", "agent"} <= killed.keys()

    expected = {id_: state for owner in owners for id_, state in owner.expected.items()}
    until(lambda: not unsettled(store.view()))
    view = store.view()
    assert not (found := problems(view, settings)), "\n".join(found)
    assert {one.id: str(one.state) for one in view.list(Instance)} == expected
    print(f"{killed}, {sum(one.answered for one in owners)} answers, {sum(one.repeated for one in owners)} repetitions")

    for owner in owners:
        owner.end_all()
    until(lambda: not unsettled(store.view()))
    view = store.view()
    assert not (found := problems(view, settings)), "\n".join(found)
    assert (view.list(NetworkInterface), view.list(Volume)) == ([], [])
    assert {(host.used_vcpus, host.used_memory) for host in view.list(Host)} == {(0, 0)}
    store.close()
