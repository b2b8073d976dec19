"""A process that works on an object store until it is killed, and says what it does: ``objects_process.py DIRECTORY NAME SEED``;
or does a number of operations, given as the last argument.

It writes ``begin N KEY WHAT SIZE`` before an operation and ``end N KEY`` when it was acknowledged. ``WHAT`` is put, delete,
parts, or copy; the bytes are those of ``content(NAME, N, SIZE)``, and a copy's those of its source.
"""

import asyncio
import hashlib
import random
import sys
from pathlib import Path

SIZES = (0, 10, 5000, 16_384, 16_385, 70_000, 300_000, 1_048_577, 3_000_000)
KEYS = 6
WORKERS = 4
PART = 40_000
SCRIPT = __file__


def content(name: str, number: int, size: int) -> bytes:
    """Bytes that tell whose they are, and are whole or not."""
    block = hashlib.sha256(f"{name} {number}".encode()).digest()
    return (block * (size // 32 + 1))[:size]


async def body(data: bytes):
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]
        await asyncio.sleep(0)


async def work(store, name: str, worker: int, chance: random.Random, most: float) -> None:
    """Has keys of its own, so that their order is known."""
    from pileus.engines.objects.model import Attributes, CompletedPart, Delete

    attributes = Attributes(owner="1")
    keys = [f"{name}/{worker}/{number}" for number in range(KEYS)]
    count = 0
    while count < most:
        count += 1
        number = count * WORKERS + worker
        key, size = chance.choice(keys), chance.choice(SIZES)
        what = chance.choice(["put", "put", "put", "delete", "parts", "abort"])
        data = content(name, number, size)
        print("begin", number, key, what, size, flush=True)
        if what == "put":
            await store.put("bucket", key, body(data), attributes=attributes)
        elif what == "delete":
            await store.delete("bucket", [Delete(key=key)], owner="1")
        else:
            upload = await store.create_upload("bucket", key, attributes=attributes, initiator="1")
            parts = []
            for index in range(1, 4):
                piece = data[(index - 1) * PART : index * PART if index < 3 else None]
                part = await store.put_part("bucket", key, upload.upload_id, index, body(piece))
                parts.append(CompletedPart(number=index, etag=part.etag))
            if what == "parts":
                await store.complete_upload("bucket", key, upload.upload_id, parts)
            else:
                await store.abort_upload("bucket", key, upload.upload_id)
        print("end", number, key, flush=True)


async def main(directory: str, name: str, seed: str, most: str = "inf") -> None:
    from pileus.base.clock import SystemClock
    from pileus.engines.objects import uploads
    from pileus.engines.objects.store import open_objects

    uploads.MIN_PART = 0
    store = await open_objects(Path(directory), SystemClock())
    print("ready", flush=True)
    chance = random.Random(seed)
    seeds = [chance.random() for _ in range(WORKERS)]
    await asyncio.gather(
        *(work(store, name, worker, random.Random(seed), float(most)) for worker, seed in enumerate(seeds))
    )
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
