"""A directory as it may be found after a power failure, made from a record of what a program wrote and synced.

What had been synced is there. Of what had not, any sectors may be there and others not; files that were created or removed
without syncing their directory may be there or not.
"""

import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
CALLS = "openat,pwrite64,write,writev,pwritev,pwritev2,ftruncate,fsync,fdatasync,unlink,rename,sync_file_range"
"""The system calls that change a file or make it durable. Those that we can't replay are an error."""

STRACE = ("strace", "-f", "-y", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", f"trace={CALLS}")
"""How to record them: add ``-P path`` for each file, ``-o record``, and the command."""

_LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?: resumed>|\()(?P<rest>.*)")
_PATH = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class Event(NamedTuple):
    """Something that happened to a file (or, for create, remove and sync, perhaps to the directory)."""

    what: str  # write, truncate, create, remove, sync
    name: str
    offset: int = 0
    data: bytes = b""


class File:
    """A file as it is on the disk for certain, and the changes that may or may not have reached it."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.pending: list[Event] = []

    def sync(self) -> None:
        for event in self.pending:
            apply(self.synced, event)
        self.pending = []

    def after_power_loss(self, chance: random.Random) -> bytearray:
        content = bytearray(self.synced)
        share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for event in self.pending:
            if event.what == "truncate":
                if chance.random() < share:
                    apply(content, event)
                continue
            for start in range(0, len(event.data), SECTOR):
                if chance.random() < share:
                    part = event.data[start : start + SECTOR]
                    apply(content, Event("write", event.name, event.offset + start, part))
        return content


def apply(content: bytearray, event: Event) -> None:
    if event.what == "truncate":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
    else:
        content.extend(bytes(max(0, event.offset - len(content))))
        content[event.offset : event.offset + len(event.data)] = event.data


class Disk:
    """A directory with its files. ``honest`` False is the disk (or the store) that forgets to sync."""

    def __init__(self, directory: str, *, honest: bool) -> None:
        self.directory = directory
        self.honest = honest
        self.files: dict[str, File] = {}
        self.entries: dict[str, File] = {}
        """The directory as it is on the disk for certain."""

    def happen(self, event: Event) -> None:
        match event.what:
            case "create":
                self.files.setdefault(event.name, File())
            case "remove":
                del self.files[event.name]
            case "sync" if self.honest and event.name == self.directory:
                self.entries = dict(self.files)
            case "sync" if self.honest:
                self.files[event.name].sync()
            case "write" | "truncate":
                self.files[event.name].pending.append(event)

    def after_power_loss(self, target: Path, chance: random.Random) -> None:
        """Writes a possible state into the empty directory ``target``."""
        for name in sorted(self.files.keys() | self.entries.keys()):
            now, certain = self.files.get(name), self.entries.get(name)
            found = now if now is certain else chance.choice((now, certain))
            if found is not None:
                (target / Path(name).name).write_bytes(found.after_power_loss(chance))


def events(record: Path) -> Iterator[Event]:
    """What strace has recorded, in the order in which it was finished."""
    begun: dict[str, str] = {}
    for line in record.read_text().splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue  # a thread's exit
        rest = match["rest"]
        if rest.endswith("<unfinished ...>"):
            begun[match["thread"]] = rest.removesuffix("<unfinished ...>")
            continue
        if " resumed>" in line:
            rest = begun.pop(match["thread"]) + rest
        arguments, _, result = rest.rpartition(" = ")
        if not result.startswith("-1"):
            yield from _event(match["call"], arguments.rstrip(" )"), result)


def _event(call: str, arguments: str, result: str) -> Iterator[Event]:
    paths = [_text(found).decode() for found in _PATH.findall(arguments)]
    strings = [_text(found) for found in _STRING.findall(arguments)]
    last = arguments.rpartition(",")[2].strip()
    match call:
        case "openat":
            if "O_CREAT" in arguments:
                yield Event("create", strings[0].decode())
        case "unlink":
            yield Event("remove", strings[0].decode())
        case "fsync" | "fdatasync":
            yield Event("sync", paths[0])
        case "ftruncate":
            yield Event("truncate", paths[0], int(last))
        case "pwrite64":
            yield Event("write", paths[0], int(last), strings[0][: int(result)])
        case "write" | "writev":
            yield Event("append", paths[0], data=b"".join(strings)[: int(result)])
        case _:
            raise NotImplementedError(f"can't replay {call}")


def _text(escaped: str) -> bytes:
    return ast.literal_eval(f"b'{escaped}'")
