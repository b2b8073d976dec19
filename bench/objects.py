"""Objects over S3: put and get, small and large, beside SeaweedFS. The client is the same for both: boto3."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.measure import CLIENTS, OURS, Row, in_turns
from bench.servers import PEERS, Pileus
from bench.wire import REGION

_PEER = "SeaweedFS"
_PATIENCE = 60.0
_SIZES = {"4 KiB": 4 << 10, "1 MiB": 1 << 20, "64 MiB": 64 << 20}
_COUNTS = {"4 KiB": 200, "1 MiB": 40, "64 MiB": 2}
"""How many objects one measurement puts or gets."""


class SeaweedFS:
    """One server with all its parts in one process, on the same disk. ``-master.telemetry=false``: it talks to nobody."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="seaweed-bench-", dir="/var/tmp"))
        self.port = 21000
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "SeaweedFS":
        keys = self._directory / "s3.json"
        keys.write_text(
            '{"identities": [{"name": "bench", "credentials": [{"accessKey": "AKIABENCHBENCHBENCH0", "secretKey": "bench"}],'
            ' "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}'
        )
        # Beside each port it takes the one 10,000 above; alone in the namespace, any low ports will do.
        ports = [f"-{part}.port={self.port + number}" for number, part in enumerate(("master", "volume", "filer"), 1)]
        self._process = subprocess.Popen(
            [
                *(str(PEERS / "bin/weed"), "server", f"-dir={self._directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(*ports, "-filer", "-s3", f"-s3.port={self.port}", "-s3.port.iceberg=0", f"-s3.config={keys}"),
                *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=20"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self._directory)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)


def measure() -> Iterator[Row]:
    """Rows for each size: put and get with one client, and with eight."""
    cloud = Pileus()
    cloud.start()
    try:
        with SeaweedFS() as peer:
            ours = _client(cloud.endpoint.port, cloud.endpoint.access_key, cloud.endpoint.secret_key)
            theirs = _client(peer.port, "AKIABENCHBENCHBENCH0", "bench")
            clients = {OURS: ours, _PEER: theirs}
            for client in clients.values():
                _until_it_stores(client)
            yield from _rows(clients)
    finally:
        cloud.stop()


def _rows(clients: dict[str, Any]) -> Iterator[Row]:
    for label, size in _SIZES.items():
        body = os.urandom(size)
        count = _COUNTS[label]
        for verb in ("put", "get"):
            for threads in (1, CLIENTS) if size < 1 << 26 else (1,):
                subjects = {
                    name: partial(_rate, client, verb, body, count, threads) for name, client in clients.items()
                }
                medians = in_turns(subjects, rounds=5, budget=40)
                who = "" if threads == 1 else f", {threads} clients"
                yield Row(what=f"S3 {verb} of {label}{who}", unit="MB/s", medians=medians)


def _rate(client: Any, verb: str, body: bytes, count: int, threads: int) -> float:
    """Megabytes a second."""
    failures: list[Exception] = []

    def work(first: int) -> None:
        try:
            for number in range(first, count, threads):
                key = f"{len(body)}/{number}"
                if verb == "put":
                    client.put_object(Bucket="bench", Key=key, Body=body)
                else:
                    client.get_object(Bucket="bench", Key=key)["Body"].read()  # which notices a body cut short
        except Exception as error:  # noqa: BLE001 - raised below, in the measuring thread
            failures.append(error)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return count * len(body) / (time.perf_counter() - begin) / 1e6


def _client(port: int, access_key: str, secret_key: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 1}, max_pool_connections=CLIENTS, read_timeout=60
        ),
    )


def _until_it_stores(client: Any) -> None:
    """Makes the bucket and an object: a peer that listens may not be able to store yet."""
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + _PATIENCE
    told = hashlib.sha256(b"bench").digest()
    while True:
        try:
            client.create_bucket(Bucket="bench")
            client.put_object(Bucket="bench", Key="first", Body=told)
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no object can be stored: {error}") from error
            time.sleep(0.2)
        else:
            return
