"""What the fake volumes let a test arrange."""

import pytest

from pileus.drivers.errors import RetryableError
from pileus.drivers.volume.fake import FakeVolumes
from pileus.hostapi.spec import VolumeSpec


async def test_the_next_ensure_can_be_made_to_fail_once() -> None:
    volumes = FakeVolumes()
    volumes.fail_next = RetryableError("no")
    spec = VolumeSpec(volume_id="vol-1", size=1, image="any")
    with pytest.raises(RetryableError):
        await volumes.ensure(spec)
    await volumes.ensure(spec)
    assert volumes.sizes == {"vol-1": 1}
