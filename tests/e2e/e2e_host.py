"""What one cloud has on its host, asked of the kernel and the disk and never of the cloud itself."""

import contextlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from e2e_machine import Machine

from pileus.base.clock import SystemClock
from pileus.base.config import Config
from pileus.cmd.cloud import supervisor_pid
from pileus.cmd.layout import Layout
from pileus.cmd.serve import network_name
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups
from pileus.drivers.network.linux.names import TAP_PREFIX
from pileus.records import KINDS
from pileus.store import Store, open_store


class Process(msgspec.Struct, frozen=True):
    """A process of the cloud. ``status`` is its /proc/PID/status by name."""

    pid: int
    argv: tuple[str, ...]
    status: dict[str, str]

    @property
    def uid(self) -> int:
        """Its effective user."""
        return int(self.status["Uid"].split()[1])


class Host:
    """The traces of the cloud of ``machine``, whose guests have the user ids ``uids``, which no other cloud may use."""

    def __init__(self, machine: Machine, uids: range) -> None:
        self._machine = machine
        self._uids = uids
        self.layout = Layout(machine.root)
        self.name = network_name(self.layout.identity().cloud_id)

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The records, read past the API."""
        store = open_store(self.layout.store_url(self.layout.load_config()), KINDS, SystemClock())
        try:
            yield store
        finally:
            store.close()

    @staticmethod
    def default_uids() -> tuple[int, int]:
        """The first and the last user id that guests get unless configured otherwise."""
        return Config().guest_uids

    def guests(self) -> dict[str, list[Process]]:
        """The processes that have a guest's user id, by the instance id that they were started with."""
        found: dict[str, list[Process]] = {}
        for process in processes():
            if process.uid in self._uids:
                named = re.findall(r"asset=(i-[0-9a-f]+)", " ".join(process.argv))
                found.setdefault(named[0] if named else f"process {process.pid}", []).append(process)
        return found

    def control_plane(self) -> dict[str, Process]:
        """The supervisor's children by name: ``api``, ``controller``, ``agent``. One that is just starting is left out."""
        supervisor = supervisor_pid(self.layout)
        children = Path(f"/proc/{supervisor}/task").glob("*/children")
        pids = {int(pid) for file in children for pid in file.read_text().split()}
        return {
            process.argv[process.argv.index("serve") + 1]: process
            for process in processes()
            if process.pid in pids
            and "serve" in process.argv
            and process.argv[0].rpartition("/")[2].startswith("python")
        }

    def processes(self) -> list[Process]:
        """All that belongs to the cloud: guests, control plane, dnsmasq."""
        places = (f"{self._machine.root}", f"/run/pileus/{self.name}/")
        return [
            process
            for process in processes()
            if process.uid in self._uids or any(place in word for word in process.argv for place in places)
        ]

    def namespaces(self) -> list[str]:
        """The cloud's network namespaces."""
        return sorted(path.name for path in Path("/run/netns").glob(f"{self.name}-*"))

    def taps(self) -> Counter[str]:
        """How often there is a tap of each name, in whatever namespace."""
        return Counter(
            link["ifname"]
            for namespace in self.namespaces()
            for link in links(namespace)
            if link["ifname"].startswith(TAP_PREFIX)
        )

    def bindings(self) -> list[str]:
        """The taps that may send something, as the rules of all VPCs have them."""
        found: list[str] = []
        for namespace in self.namespaces():
            argv = ["ip", "netns", "exec", namespace, "nft", "--json", "list", "ruleset"]
            listed = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)["nftables"]
            for entry in listed:
                if "set" in entry and entry["set"]["name"] == "bindings4" and entry["set"]["family"] == "inet":
                    found += [element["concat"][0] for element in entry["set"].get("elem", ())]
        return sorted(found)

    def leases(self) -> list[str]:
        """The addresses that dnsmasq hands out, in all VPCs."""
        files = Path(f"/run/pileus/{self.name}").glob("vpc-*/leases")
        return sorted(line.split(",")[1] for file in files for line in file.read_text().splitlines())

    def dnsmasqs(self) -> list[str]:
        """The VPCs that a dnsmasq serves, each as often as it is served."""
        words = (word for process in processes() for word in process.argv if word.startswith("--conf-file="))
        paths = (Path(word.removeprefix("--conf-file=")) for word in words)
        return sorted(path.parent.name for path in paths if path.parent.parent.name == self.name)

    def homes(self) -> set[str]:
        """The guests that something is kept of, half-removed ones included."""
        return names_in(self.layout.root / "guests")

    def volumes(self) -> set[str]:
        """The volumes on the disk, half-made ones included."""
        return names_in(self.layout.root / "volumes")

    def limited(self, instance_ids: set[str]) -> set[str]:
        """Which of these instances have a cgroup."""
        cgroups = Cgroups()
        return {one for one in instance_ids if any(directory.exists() for directory in cgroups.directories(one))}


def processes() -> Iterator[Process]:
    """All processes of the machine that are not zombies."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
                lines = (entry / "status").read_text().splitlines()
                status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if argv:
                    yield Process(int(entry.name), tuple(argv), status)


def links(namespace: str | None = None) -> list[dict[str, Any]]:
    """The links of a namespace, or of our own."""
    argv = ["ip", *(["-n", namespace] if namespace else []), "-json", "link"]
    return json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)


def names_in(directory: Path) -> set[str]:
    """What is in a directory; nothing when it is not there."""
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def surroundings() -> dict[str, Any]:
    """What a cloud could leave on the host beside its data directory, in our network namespace and outside of it."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return {"links": [link["ifname"] for link in links()], "routes": routes, "rules": rules}
