"""A process of its own for the tests of the store: ``python store_process.py <what> <url> <name> <number>``.

It writes what it has been told is durable to standard output, one line each, before it goes on.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec

from pileus.base.clock import SystemClock
from pileus.base.record import Record
from pileus.store import ClaimTaken, Store, Transaction, open_store


class Counter(Record, frozen=True, kw_only=True):
    kind: ClassVar[str] = "test.counter"

    value: int = 0


class Part(Record, frozen=True, kw_only=True):
    """One of the ``PARTS`` records that a transaction writes together."""

    kind: ClassVar[str] = "test.part"
    indexes: ClassVar[tuple[str, ...]] = ("group",)

    group: str
    filling: str = ""


SCRIPT = Path(__file__)
KINDS = (Counter, Part)
PARTS = 5
THREADS = 3
SEATS = 40


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write: other threads can't come between


def write_group(tx: Transaction, group: str, filling: str = "") -> None:
    """Several records, a claim and a counter that belong together."""
    for part in range(PARTS):
        tx.put(Part(id=f"{group}/{part}", account="1", region="r", group=group, filling=filling))
    tx.claim("groups", group, group)
    count(tx, "groups")


def count(tx: Transaction, name: str) -> None:
    counter = tx.get(Counter, name) or Counter(id=name, account="1", region="r")
    tx.put(msgspec.structs.replace(counter, value=counter.value + 1))


def groups(store: Store, name: str, number: int) -> None:
    """Writes groups, one after the other."""
    for turn in range(number):
        group = f"{name}.{turn}"
        store.transact(lambda tx, group=group: write_group(tx, group, "x" * 700))
        tell(group)


def check_groups(store: Store, told: set[str]) -> set[str]:
    """Everything that was told is there, and of every group all or nothing. Returns the groups that are there."""
    view = store.view()
    parts: dict[str, int] = {}
    for part in view.list(Part):
        parts[part.group] = parts.get(part.group, 0) + 1
    assert told <= parts.keys()
    assert set(parts.values()) <= {PARTS}
    assert dict(view.claims("groups")) == {group: group for group in parts}
    counter = view.get(Counter, "groups")
    assert (counter.value if counter else 0) == len(parts)
    return set(parts)


def run_threads(target: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=target, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def mortals(url: str, name: str) -> None:
    """For each line of standard input starts a process that writes groups until it is killed."""
    for turn, _ in enumerate(sys.stdin):
        child = os.fork()  # nothing is open yet, and everything is imported
        if not child:
            store, life = open_store(url, KINDS, SystemClock()), f"{name}{turn}"
            run_threads(lambda thread, store=store, life=life: groups(store, f"{life}.{thread}", sys.maxsize))
            os._exit(1)  # nobody listens any more
        tell(f"born {child}")
        os.waitpid(child, 0)
        tell("dead")


def contend(store: Store, name: str, number: int) -> None:
    """Raises one shared counter and takes seats that others want too."""

    def run(thread: int) -> None:
        for turn in range(number):
            store.transact(lambda tx: count(tx, "shared"))
            seat = str((turn * 7 + thread) % SEATS)
            try:
                store.transact(lambda tx, seat=seat: tx.claim("seats", seat, f"{name}.{thread}"))
                tell(f"{seat} {name}.{thread}")
            except ClaimTaken:
                pass

    run_threads(run)


def main() -> None:
    what, url, name, number = sys.argv[1:]
    if what == "mortals":
        mortals(url, name)
        return
    store = open_store(url, KINDS, SystemClock())
    {"groups": groups, "contend": contend}[what](store, name, int(number))
    store.close()


if __name__ == "__main__":
    main()
