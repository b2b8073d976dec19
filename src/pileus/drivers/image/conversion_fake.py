"""Conversion that is only pretended: for ``--simulate`` and tests of what lies above."""

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.image.conversion_interface import Converted, OpenKey, Progress
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import BLOCK, BlockError, Blocks, BlockStore
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.upload import upload
from pileus.hostapi.spec import ConversionSpec

_GIB = 1 << 30


class FakeConversions:
    """Takes every source for the bytes of the disk itself; what begins with ``broken`` is refused."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._sessions: dict[str, BlockStore] = {}

    async def convert(self, spec: ConversionSpec, keys: OpenKey, progress: Progress) -> Converted:
        """See ``Conversions.convert``."""
        await self.forget(spec.task_id)
        session = self._sessions[spec.task_id] = self._blocks.session()
        source_key = BlockKey(await keys(spec.source_key_id)) if spec.source_key_id else None
        key = BlockKey(await keys(spec.key_id)) if spec.key_id else None
        try:
            manifest = await Manifest.open(session, bytes.fromhex(spec.source))
            reader = Reader(session, manifest, source_key)
            if (await reader.block(0)).startswith(b"broken"):
                raise PermanentError("ClientError: Disk validation failed [It is broken]")

            async def copied():
                async for index, _ in manifest.allocated_from():
                    yield index, await reader.block(index)

            allocated = [index async for index, _ in manifest.allocated_from()]
            # As images do, a file ends where the data of the disk does.
            end = min(spec.size, (allocated[-1] + 1 if allocated else 1) * BLOCK)
            size = end if spec.target_format != "raw" else -(-spec.size // _GIB) * _GIB
            progress("storing", 60)
            done = await upload(session, copied(), size=size, key=key)
        except BlockError as error:
            raise RetryableError(str(error)) from error
        return Converted(root=done.root.hex(), size=size)

    async def forget(self, task_id: str) -> None:
        """See ``Conversions.forget``."""
        if (session := self._sessions.pop(task_id, None)) is not None:
            await session.close()
