"""Processes that are killed at any moment: what they acknowledged is there and whole, nothing else is left of them."""

import asyncio
import random
import sys
from pathlib import Path

import pytest
from objects_audit import Outcome, audit, check, follow
from objects_process import SCRIPT

from pileus.base.clock import SystemClock
from pileus.engines.objects.store import open_objects

pytestmark = pytest.mark.slow

ROUNDS = 8
PROCESSES = 2


async def run(directory: Path, name: str, seed: int, seconds: float, killed: asyncio.Event | None = None) -> list[str]:
    """Kills it ``seconds`` after it began to work; what it had said. ``killed`` is set before."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, SCRIPT, str(directory), name, str(seed), stdout=asyncio.subprocess.PIPE
    )
    assert await process.stdout.readline() == b"ready\n"
    said = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(seconds)
    if killed is not None:
        killed.set()
    process.kill()
    await process.wait()
    return (await said).decode().splitlines()


async def test_killed_processes_lose_nothing_and_leave_nothing(tmp_path):
    directory = tmp_path / "objects"
    store = await open_objects(directory, SystemClock())
    await store.create_bucket("bucket", account="1", region="r")
    chance = random.Random(7)
    possible: dict[str, set[Outcome]] = {}
    acknowledged = left = 0
    for number in range(ROUNDS):
        if number % 2:  # with and without a process that goes on
            await store.close()
        said = await asyncio.gather(
            *(
                run(directory, f"p{index}-{number}", chance.randrange(1 << 30), chance.uniform(0.1, 0.9))
                for index in range(PROCESSES)
            )
        )
        if number % 2:
            store = await open_objects(directory, SystemClock())
        for index, lines in enumerate(said):
            acknowledged += follow(lines, f"p{index}-{number}", possible)
        await check(store, possible)
        audit(directory, settled=False)
        left += await store.sweep()
        audit(directory, settled=True)
        assert len(list((directory / "processes").iterdir())) == 1
        await check(store, possible)
        listed, after = set(), ""
        while True:
            page = await store.list("bucket", after=after, max_keys=7)
            listed |= {entry.key for entry in page.entries}
            if not page.truncated:
                break
            after = page.next_after
        assert listed == {key for key, outcomes in possible.items() if outcomes != {None}}
    assert acknowledged > 100
    assert left > 0  # or the kills came at no interesting moment
    await store.close()


async def test_two_processes_and_a_sweep_at_the_same_time(tmp_path):
    """A sweep takes nothing away from those who are at work."""
    directory = tmp_path / "objects"
    store = await open_objects(directory, SystemClock())
    await store.create_bucket("bucket", account="1", region="r")
    killed = asyncio.Event()
    working = [asyncio.create_task(run(directory, f"p{index}", index, 4, killed)) for index in range(PROCESSES)]
    possible: dict[str, set[Outcome]] = {}
    while not killed.is_set():
        removed = await store.sweep()
        assert not removed or killed.is_set()
        audit(directory, settled=False)
        await asyncio.sleep(0.05)
    for index, lines in enumerate(await asyncio.gather(*working)):
        assert follow(lines, f"p{index}", possible) > 50
    await check(store, possible)
    await store.sweep()
    audit(directory, settled=True)
    await store.close()
