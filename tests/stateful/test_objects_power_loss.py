"""Power loss at any moment of the object store's life loses nothing that was acknowledged, and leaves no half object.

A process works under strace; then the store is opened on what a power failure at many random moments could have left.
"""

import random
import shutil
import sys
from pathlib import Path

import pytest
from lossy_disk import STRACE, Disk, Event, events
from objects_audit import Outcome, audit, check, follow
from objects_process import SCRIPT

from pileus.base.clock import SystemClock
from pileus.base.process import spawn
from pileus.engines.objects.errors import Damaged
from pileus.engines.objects.store import open_objects

pytestmark = pytest.mark.slow

OPERATIONS = 25
"""Of each of the process's workers."""
FAILURES = 15


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> tuple[Path, Path, list[Event]]:
    """The directory, where it was told what is done, and all that happened."""
    base = tmp_path_factory.mktemp("power")
    directory, told = base / "objects", base / "told"
    prepare = [sys.executable, "-c", PREPARE, directory]
    assert spawn(*map(str, prepare)).wait() == 0
    worker = [sys.executable, "-B", SCRIPT, directory, "p", 5, OPERATIONS]
    with told.open("wb") as output:
        assert spawn(*map(str, [*STRACE, "-s", 2 << 20, "-o", base / "record", *worker]), stdout=output).wait() == 0
    return directory, told, list(events(base / "record"))


PREPARE = """
import asyncio, sys
from pathlib import Path
from pileus.base.clock import SystemClock
from pileus.engines.objects.store import open_objects

async def main():
    store = await open_objects(Path(sys.argv[1]), SystemClock())
    await store.create_bucket("bucket", account="1", region="r")
    await store.close()

asyncio.run(main())
"""


class Disks:
    """A tree of directories on a disk that may lose what was not synced."""

    def __init__(self, root: Path, *, honest: bool) -> None:
        self.root = root
        self.disks = {
            str(path): Disk(str(path), honest=honest)
            for path in [root, *root.rglob("*")]
            if path.is_dir() and path.name != "processes"
        }
        self.sizes: dict[str, int] = {}

    def start(self, index: bytes) -> None:
        """What was there before."""
        disk = self.disks[str(self.root)]
        name = str(self.root / "index.db")
        disk.happen(Event("create", name))
        disk.happen(Event("write", name, 0, index))
        disk.files[name].sync()
        disk.entries = dict(disk.files)

    def happen(self, event: Event) -> None:
        disk = self.disks.get(event.name) or self.disks.get(str(Path(event.name).parent))
        if disk is None or event.name.endswith("-shm"):
            return
        if event.what == "append":
            offset = self.sizes.get(event.name, 0)
            self.sizes[event.name] = offset + len(event.data)
            event = Event("write", event.name, offset, event.data)
        disk.happen(event)

    def after_power_loss(self, target: Path, chance: random.Random) -> None:
        for name, disk in self.disks.items():
            place = target / Path(name).relative_to(self.root)
            place.mkdir(exist_ok=True, parents=True)
            disk.after_power_loss(place, chance)


async def lose_power(record: tuple[Path, Path, list[Event]], disks: Disks, base: Path, seed: int) -> int:
    """Opens and checks the store after failures at random moments; how many blobs were swept."""
    directory, told, happened = record
    chance = random.Random(seed)
    first = next(place for place, event in enumerate(happened) if event.name.startswith(str(directory)))
    moments = set(chance.sample(range(first, len(happened)), FAILURES))
    lines = ""
    swept = 0
    for moment, event in enumerate(happened):
        if event.name == str(told):
            lines += event.data.decode()
        else:
            disks.happen(event)
        if moment in moments:
            left = base / str(moment)
            disks.after_power_loss(left, chance)
            store = await open_objects(left, SystemClock())
            try:
                possible: dict[str, set[Outcome]] = {}
                follow(lines.splitlines(), "p", possible)
                await check(store, possible)
                swept += await store.sweep()
                audit(left, settled=True)
                await check(store, possible)
            finally:
                await store.close()
                shutil.rmtree(left)
    return swept


@pytest.fixture
def before(record, tmp_path) -> bytes:
    """The index as it was when the process began."""
    directory = tmp_path / "before"
    assert spawn(sys.executable, "-c", PREPARE, str(directory)).wait() == 0
    return (directory / "index.db").read_bytes()


@pytest.mark.parametrize("seed", range(2))
async def test_power_loss_loses_no_object(record, before, tmp_path, seed):
    disks = Disks(record[0], honest=True)
    disks.start(before)
    assert await lose_power(record, disks, tmp_path, seed) > 0


async def test_a_disk_that_forgets_is_found_out(record, before, tmp_path):
    """The check can fail: it does when nothing is ever synced."""
    disks = Disks(record[0], honest=False)
    disks.start(before)
    with pytest.raises((AssertionError, Damaged)):
        await lose_power(record, disks, tmp_path, 0)
