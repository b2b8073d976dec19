"""What is read out of QEMU's answers about disks, and what is cleared away. The real QEMU is in tests/conformance."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.qemu import inventory, merge
from pileus.drivers.hypervisor.qemu.disks import Disks, end_job, refusal
from pileus.drivers.hypervisor.qemu.monitor import Monitor, Refused
from pileus.drivers.hypervisor.qemu.nodes import label, node_at

TOP, OWN = node_at("vol-1", Path("/v/top")), node_at("vol-1", Path("/v/own"))


class Qemu:
    """Answers as QEMU would, of what it is said to have; remembers what it was told to do."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Mapping[str, Any]]] = []
        self.refuses: set[str] = set()
        self.objects = ["vol-1"]
        self.devices = ["vol-1"]
        self.jobs: list[dict[str, Any]] = []
        self.sets = {7: (TOP, "/v/top", 2), 8: (OWN, "/v/own", 2)}
        self.edges = [("vol-1", TOP, "file"), (TOP, f"{TOP}f", "file"), (TOP, OWN, "backing"), (OWN, f"{OWN}f", "file")]

    @property
    def monitor(self) -> Monitor:
        return cast("Monitor", self)

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> object:
        await asyncio.sleep(0)
        match command:
            case "qom-list":
                assert arguments is not None
                kind = "throttle-group" if arguments["path"] == "/objects" else "virtio-blk-pci"
                names = self.objects if arguments["path"] == "/objects" else self.devices
                return [{"name": name, "type": f"child<{kind}>"} for name in names]
            case "x-debug-query-block-graph":
                names = list(dict.fromkeys(name for edge in self.edges for name in edge[:2]))
                return {
                    "nodes": [{"id": names.index(name), "name": name, "type": "block-driver"} for name in names],
                    "edges": [
                        {"parent": names.index(parent), "child": names.index(child), "name": name, "perm": []}
                        for parent, child, name in self.edges
                    ],
                }
            case "query-fdsets":
                return [
                    {"fdset-id": number, "fds": [{"fd": 1, "opaque": label(node, Path(path))}] * count}
                    for number, (node, path, count) in self.sets.items()
                ]
            case "query-jobs":
                return self.jobs
            case "query-block-exports":
                return []
            case _:
                self.said.append((command, arguments or {}))
                if command in self.refuses:
                    raise Refused(f"{command}: no")
                return self._done(command, arguments or {})

    def _done(self, command: str, arguments: Mapping[str, Any]) -> object:
        match command:
            case "blockdev-del":
                name = arguments["node-name"]
                assert not any(child == name for _, child, _ in self.edges), f"{name} is in use"
                self.edges = [edge for edge in self.edges if edge[0] != name]
            case "remove-fd":
                del self.sets[arguments["fdset-id"]]
            case "object-del":
                self.objects.remove(arguments["id"])
            case "job-dismiss":
                self.jobs.clear()
            case "human-monitor-command":
                return ""
            case _:
                pass
        return {}


def commands(qemu: Qemu) -> list[str]:
    return [command for command, _ in qemu.said]


async def test_a_chain_is_read_from_the_graph_with_its_files() -> None:
    found = (await inventory.read(Qemu().monitor))["vol-1"]
    assert found.chain == (TOP, OWN)
    assert found.paths == {TOP: Path("/v/top"), OWN: Path("/v/own")}
    assert found.mergeable == {TOP, OWN}
    assert (found.plugged, found.torn, found.held, found.untidy) == (True, False, True, False)
    assert found.strays == ()


async def test_what_a_volume_with_a_longer_name_has_is_not_taken_for_its_own() -> None:
    qemu = Qemu()
    other = node_at("vol-10", Path("/v/top"))
    qemu.objects.append("vol-10")
    qemu.edges.append(("vol-10", other, "file"))
    qemu.sets[9] = (other, "/v/top", 2)
    found = await inventory.read(qemu.monitor)
    assert found["vol-1"].chain == (TOP, OWN)
    assert set(found["vol-1"].sets) == {TOP, OWN}
    assert found["vol-10"].chain == (other,)


async def test_what_a_device_left_behind_is_cleared_with_its_descriptors() -> None:
    qemu = Qemu()
    qemu.devices.clear()
    disks = Disks("i-1")
    assert await disks.sweep(qemu.monitor) == ()
    assert (qemu.sets, qemu.objects) == ({}, [])
    assert not disks.unsettled
    deleted = [arguments["node-name"] for command, arguments in qemu.said if command == "blockdev-del"]
    assert deleted[0] == "vol-1"
    assert deleted.index(TOP) < deleted.index(OWN)


async def test_what_qemu_does_not_let_go_is_held_and_looked_at_again() -> None:
    qemu = Qemu()
    qemu.devices.clear()
    qemu.refuses.add("blockdev-del")
    disks = Disks("i-1")
    assert await disks.sweep(qemu.monitor) == ("vol-1",)
    assert disks.unsettled
    assert qemu.sets
    qemu.refuses.clear()
    assert await disks.sweep(qemu.monitor) == ()


async def test_a_layer_that_nobody_uses_goes_and_the_rest_stays() -> None:
    qemu = Qemu()
    stray = node_at("vol-1", Path("/v/new"))
    qemu.edges.append((stray, f"{stray}f", "file"))
    qemu.sets[9] = (stray, "/v/new", 2)
    assert await Disks("i-1").sweep(qemu.monitor) == ("vol-1",)
    assert set(qemu.sets) == {7, 8}
    assert not [edge for edge in qemu.edges if stray in edge]
    assert len(qemu.edges) == 4


async def test_a_disk_that_lost_its_data_is_not_held_but_its_guest_is_asked_again() -> None:
    qemu = Qemu()
    qemu.edges = [("vol-1", "vol-1.torn", "file"), ("vol-1.torn", "vol-1.void", "image")]
    qemu.sets.clear()
    disks = Disks("i-1")
    assert await disks.sweep(qemu.monitor) == ()
    await disks.nudge(qemu.monitor)
    assert commands(qemu) == ["device_del"]


async def test_a_merge_writes_back_the_lower_file_before_it_ends(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.touch()
    qemu = Qemu()
    qemu.sets[8] = (OWN, str(own), 2)
    qemu.refuses.add("block-commit")
    over = node_at("vol-1", Path("/v/over"))
    qemu.edges = [("vol-1", over, "file"), (over, TOP, "backing"), *qemu.edges[1:]]
    with pytest.raises(Refused):
        await merge.step(qemu.monitor, "vol-1", Path("/v/top"))
    assert qemu.said[-1][1]["backing-file"] == str(own)
    assert (qemu.said[-1][1]["auto-finalize"], qemu.said[-1][1]["auto-dismiss"]) == (False, False)
    qemu.jobs.append({"id": "vol-1.merge", "status": "running"})
    qemu.edges += [(over, "vol-1.merge", "backing"), ("vol-1.merge", TOP, "backing")]
    qemu.edges.remove((over, TOP, "backing"))
    qemu.said.clear()
    assert not await merge.step(qemu.monitor, "vol-1", Path("/v/top"))
    assert not qemu.said
    found = (await inventory.read(qemu.monitor))["vol-1"]
    assert (found.chain, found.merging_into, found.strays) == ((over, TOP, OWN), OWN, ())
    qemu.jobs[0]["status"] = "pending"
    assert not await merge.step(qemu.monitor, "vol-1", Path("/v/top"))
    assert commands(qemu) == ["human-monitor-command", "job-finalize"]
    assert qemu.said[0][1] == {"command-line": f"qemu-io {OWN} flush"}
    own.unlink()
    qemu.said.clear()
    with pytest.raises(OSError, match="own"):
        await merge.step(qemu.monitor, "vol-1", Path("/v/top"))
    assert "job-finalize" not in commands(qemu)


async def test_a_failed_merge_is_dismissed_and_told() -> None:
    qemu = Qemu()
    qemu.jobs.append({"id": "vol-1.merge", "status": "concluded", "error": "No space left on device"})
    with pytest.raises(RetryableError, match="No space left"):
        await merge.step(qemu.monitor, "vol-1", Path("/v/top"))
    assert commands(qemu) == ["job-dismiss"]
    assert not qemu.jobs


@pytest.mark.parametrize("layer", ["/v/top", "/v/own"])
async def test_neither_the_top_nor_the_base_is_merged(layer: str) -> None:
    with pytest.raises(PermanentError):
        await merge.step(Qemu().monitor, "vol-1", Path(layer))


async def test_a_layer_is_not_merged_into_what_is_not_the_volume_s_own() -> None:
    qemu = Qemu()
    over = node_at("vol-1", Path("/v/over"))
    qemu.edges = [("vol-1", over, "file"), (over, TOP, "backing"), *qemu.edges[1:]]
    qemu.sets[8] = (OWN, "/v/own", 1)
    with pytest.raises(PermanentError):
        await merge.step(qemu.monitor, "vol-1", Path("/v/top"))


async def test_a_job_is_cancelled_and_dismissed() -> None:
    qemu = Qemu()
    qemu.jobs.append({"id": "vol-1.merge", "status": "concluded"})
    assert await end_job(qemu.monitor, (await inventory.read(qemu.monitor))["vol-1"])
    assert commands(qemu) == ["job-cancel", "job-dismiss"]


def test_a_wrong_key_will_not_become_right() -> None:
    assert isinstance(refusal("vol-1", "blockdev-add: Invalid password, cannot unlock any keyslot"), PermanentError)
    assert isinstance(refusal("vol-1", "device_add: no slot"), RetryableError)
