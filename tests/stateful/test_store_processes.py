"""Several processes on one database: nothing is lost, nothing happens twice, and SIGKILL at any moment is harmless."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from store_process import KINDS, SCRIPT, SEATS, THREADS, Counter, check_groups

from pileus.base.clock import SystemClock
from pileus.base.process import spawn
from pileus.store import open_store

pytestmark = pytest.mark.slow

KILLS = 40


@contextmanager
def process(what: str, url: str, name: str, number: int) -> Iterator["subprocess.Popen[bytes]"]:
    child = spawn(
        sys.executable, str(SCRIPT), what, url, name, str(number), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def test_threads_and_processes_lose_no_count_and_share_no_claim(database_url):
    turns = 30
    store = open_store(database_url, KINDS, SystemClock())
    try:
        with process("contend", database_url, "p", turns) as one, process("contend", database_url, "q", turns) as two:
            lines = [
                line.decode().split() for child in (one, two) for line in child.communicate(timeout=120)[0].splitlines()
            ]
            assert one.returncode == two.returncode == 0
        view = store.view()
        assert view.get(Counter, "shared").value == 2 * THREADS * turns
        assert len(view.claims("seats")) == SEATS
        assert {(seat, holder) for seat, holder in lines} == set(view.claims("seats").items())
    finally:
        store.close()


def test_what_was_acknowledged_survives_sigkill_and_no_half_of_the_rest_does(database_url):
    """A killed process loses nothing that the kernel has; power loss is another test."""
    chance = random.Random(2026)
    told: set[str] = set()
    store = open_store(database_url, KINDS, SystemClock())
    try:
        with process("mortals", database_url, "m", 0) as mother:
            for _ in range(KILLS):
                told |= live_and_die(mother, chance)
                present = check_groups(store, told)
                assert len(present - told) <= THREADS
                told = present  # what was committed but not told yet is there for good, too
                fresh = open_store(database_url, KINDS, SystemClock())
                assert check_groups(fresh, told) == told
                fresh.close()
    finally:
        store.close()


def live_and_die(mother: "subprocess.Popen[bytes]", chance: random.Random) -> set[str]:
    """One writer's life; what it was told is durable."""
    mother.stdin.write(b"\n")
    mother.stdin.flush()
    told: set[str] = set()
    child = 0
    while len(told) < chance.randrange(1, 20) or not child:
        word, _, number = mother.stdout.readline().decode().strip().partition(" ")
        if word == "born":
            child = int(number)
        else:
            told.add(word)
    time.sleep(chance.random() / 200)  # about as long as a commit takes
    os.kill(child, signal.SIGKILL)
    while (line := mother.stdout.readline()) != b"dead\n":
        told.add(line.decode().strip())
    return told
