"""Ansible's amazon.aws collection builds a VPC with everything in it and takes it away; doing so again changes nothing."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from pileus.records import KINDS

PLAYBOOKS = Path(__file__).parent / "ansible"


async def play(cloud: Any, directory: Path, playbook: str) -> int:
    """Runs a playbook; returns how many of its tasks changed something."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    environment |= {
        "AWS_ACCESS_KEY_ID": cloud.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": cloud.credentials.secret_key,
        "AWS_ENDPOINT_URL": cloud.endpoint,
        "AWS_REGION": cloud.config.default_region,
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
    }
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", "localhost,", "-e", f"image={cloud.image('tiny')}", str(PLAYBOOKS / playbook)),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 240)
    assert process.returncode == 0, f"{failures(output)}\n{errors.decode()}"
    told = json.loads(output)
    changed = [
        (task["task"]["name"], task["hosts"]["localhost"])
        for one in told["plays"]
        for task in one["tasks"]
        if task["hosts"]["localhost"].get("changed")
    ]
    assert len(changed) == told["stats"]["localhost"]["changed"]
    return len(changed)


def failures(output: bytes) -> str:
    """What failed, of a run that did."""
    try:
        told = json.loads(output)
    except ValueError:
        return output.decode()
    tasks = [task for one in told["plays"] for task in one["tasks"]]
    failed = [
        {"task": task["task"]["name"]} | {key: value for key, value in host.items() if key != "invocation"}
        for task in tasks
        for host in task["hosts"].values()
        if host.get("failed")
    ]
    return json.dumps(failed, indent=1)[:6000]


def present(cloud: Any) -> dict[str, set[str]]:
    """The ids of everything that an account has."""
    view = cloud.store.view()
    kinds = (kind for kind in KINDS if "vpc_id" in kind.__struct_fields__ or kind.kind in {"vpc", "address", "peering"})
    return {kind.kind: {record.id for record in view.list(kind)} for kind in kinds}


async def test_a_second_run_changes_nothing(cloud, directory):
    before = present(cloud)
    assert await play(cloud, directory, "create.yml") >= 15
    whole = present(cloud)
    assert await play(cloud, directory, "create.yml") == 0
    assert present(cloud) == whole
    assert await play(cloud, directory, "remove.yml") >= 12
    left = present(cloud)
    for kind in ("nat-gateway", "instance"):  # shown for an hour after they are gone
        del left[kind], before[kind]
    assert left == before
    assert await play(cloud, directory, "remove.yml") == 0
