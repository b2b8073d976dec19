"""What a cloud has on its machine, as one sees it without asking the cloud."""

import json
import subprocess
from pathlib import Path

from e2e_machine import Machine

from pileus.drivers.hypervisor.qemu.process import holders


def qemu(machine: Machine, instance_id: str) -> int | None:
    """The process that runs a guest: whoever has its lock."""
    lock = machine.root / "guests" / instance_id / "lock"
    return holders([lock]).get(lock) if lock.exists() else None


def traces(machine: Machine, name: str) -> list[str]:
    """Where there is something of this name: processes, files, cgroups, links."""
    found = [f"process {path.parent.name}" for path in Path("/proc").glob("[0-9]*/cmdline") if _contains(path, name)]
    found += [str(path) for path in machine.root.rglob(f"*{name}*") if "control" not in path.parts]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/pileus/{name}")]
    for namespace in vpc_namespaces(machine):
        listed = subprocess.run(
            ["ip", "-netns", namespace, "link", "show"], capture_output=True, text=True, check=False
        )
        found += [line.strip() for line in listed.stdout.splitlines() if name in line]
    return found


def vpc_namespaces(machine: Machine) -> list[str]:
    """The cloud's network namespaces but the edge."""
    cloud = json.loads((machine.root / "identity.json").read_text())["cloud_id"][:4]
    return [path.name for path in Path("/run/netns").glob(f"pl{cloud}-*") if not path.name.endswith("-edge")]


def _contains(path: Path, name: str) -> bool:
    try:
        return name.encode() in path.read_bytes()
    except OSError:  # ended meanwhile
        return False
