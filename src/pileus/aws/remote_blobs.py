"""A bucket of another S3, for the object store's blobs (``pileus.engines.objects.remote_blobs``). Used by composition roots.

botocore's client blocks: calls go to a few threads of their own. Which errors the caller wants to see is its business: it
gives the exceptions to raise when the other S3 does not answer, and when it is full.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.session import Session

T = TypeVar("T")

_THREADS = 16
_MISSING = {"NoSuchKey", "404"}
_FULL = {"InsufficientCapacity", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}


class BucketAnswer(Enum):
    """What came of trying a bucket."""

    WELL = auto()
    REFUSED = auto()
    SILENT = auto()


class Place(Protocol):
    """How a bucket is reached: ``pileus.base.config.ObjectsConfig`` says what each is."""

    @property
    def endpoint(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def access_key(self) -> str: ...
    @property
    def addressing(self) -> Literal["path", "virtual"]: ...
    @property
    def certificates(self) -> str | None: ...


def connect(place: Place, secret_key: str, *, patience: float = 30, attempts: int = 4) -> Any:
    """A botocore client. ``patience``: seconds that it waits for a connection and for each answer, ``attempts`` times.

    It asks for nothing that only newer services know: checksums are sent where the operation demands one.
    """
    return Session().create_client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region,
        verify=place.certificates,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            connect_timeout=min(patience, 5),
            read_timeout=patience,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            max_pool_connections=_THREADS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": place.addressing},
        ),
    )


def try_out(client: Any, bucket: str, key: str) -> tuple[BucketAnswer, str]:
    """Puts, lists, reads and deletes a small object; what it was answered, and the reason where that was not well."""
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"trial")
        client.list_objects_v2(Bucket=bucket, Prefix=key)
        client.get_object(Bucket=bucket, Key=key)["Body"].close()
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}], "Quiet": True})
    except ClientError as error:
        passing = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
        return BucketAnswer.SILENT if passing else BucketAnswer.REFUSED, str(error)
    except (BotoCoreError, HTTPClientError) as error:
        return BucketAnswer.SILENT, str(error)
    return BucketAnswer.WELL, ""


class RemoteBucket:
    """A bucket through a botocore S3 ``client`` (see ``pileus.aws.client``)."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        *,
        unavailable: Callable[[str], Exception],
        full: Callable[[str], Exception],
        threads: int = _THREADS,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._unavailable = unavailable
        self._full = full
        self._executor = ThreadPoolExecutor(threads, "remote-blobs")

    async def put(self, key: str, data: bytes) -> None:
        """Stores an object."""
        await self._run(partial(self._client.put_object, Bucket=self._bucket, Key=key, Body=data))

    async def get(self, key: str, offset: int, length: int) -> bytes | None:
        """A range of an object; None if there is none."""
        return await self._run(partial(self._get, key, offset, length))

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes at most 1000 objects."""
        if keys:
            await self._run(partial(self._delete, keys))

    async def list(self, prefix: str, after: str) -> Sequence[str]:
        """A page of keys greater than ``after``."""
        page = await self._run(
            partial(self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix, StartAfter=after)
        )
        return [line["Key"] for line in page.get("Contents", [])]

    async def close(self) -> None:
        """Waits for what was begun."""
        await asyncio.get_running_loop().run_in_executor(None, self._executor.shutdown)

    def _get(self, key: str, offset: int, length: int) -> bytes | None:
        wanted = f"bytes={offset}-{offset + length - 1}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, Range=wanted)
        except ClientError as error:
            code = _code(error)
            if code == "InvalidRange":
                return b""
            if code in _MISSING:
                return None
            raise
        with answer["Body"] as body:
            return body.read()

    def _delete(self, keys: Sequence[str]) -> None:
        objects = [{"Key": key} for key in keys]
        answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        if answer.get("Errors"):
            raise self._unavailable(str(answer["Errors"][0]))

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function)
        except ClientError as error:
            raise (self._full if _code(error) in _FULL else self._unavailable)(str(error)) from error
        except (BotoCoreError, HTTPClientError) as error:
            raise self._unavailable(str(error)) from error


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
