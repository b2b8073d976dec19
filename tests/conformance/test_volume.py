"""What every volume driver promises, the fake one too."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.image.interface import ImageManifest
from pileus.drivers.volume.fake import FakeVolumes
from pileus.drivers.volume.interface import Volumes
from pileus.drivers.volume.local import LocalVolumes
from pileus.hostapi.spec import VolumeSpec

MIB = 1 << 20


class OneImage:
    """An image store with one image of 8 MiB, ``c0ffee``."""

    def __init__(self, root: Path) -> None:
        self._directory = root / "images" / "c0ffee"
        self._directory.mkdir(parents=True)
        disk = self._directory / "disk.qcow2"
        process.run_sync("qemu-img", "create", "-q", "-f", "qcow2", str(disk), str(8 * MIB))

    async def observe(self) -> Sequence[ImageManifest]:
        return [(await self.locate("c0ffee"))[0]]

    async def locate(self, content: str) -> tuple[ImageManifest, Path]:
        if content != "c0ffee":
            raise PermanentError(f"{content} is not here")
        manifest = ImageManifest(
            content=content,
            name="one",
            family="one",
            description="",
            virtual_size=8 * MIB,
            created="2026-11-23T00:00:00.000Z",
            user="root",
        )
        return manifest, self._directory


@pytest.fixture(params=["fake", "local"])
def volumes(request: pytest.FixtureRequest, tmp_path: Path) -> Volumes:
    images = OneImage(tmp_path)
    return FakeVolumes(images) if request.param == "fake" else LocalVolumes(tmp_path, images)


def spec(volume_id: str = "vol-1", size: int = 16 * MIB, image: str | None = "c0ffee") -> VolumeSpec:
    return VolumeSpec(volume_id=volume_id, size=size, image=image)


async def test_a_volume_is_there_once_it_is_ensured_and_gone_once_it_is_removed(volumes: Volumes) -> None:
    assert not list(await volumes.observe())
    await volumes.ensure(spec("vol-1"))
    await volumes.ensure(spec("vol-2", image=None))
    assert [state.volume_id for state in await volumes.observe()] == ["vol-1", "vol-2"]
    await volumes.remove("vol-1")
    assert [state.volume_id for state in await volumes.observe()] == ["vol-2"]


async def test_everything_can_be_said_twice(volumes: Volumes) -> None:
    await volumes.ensure(spec())
    await volumes.ensure(spec())
    await volumes.remove("vol-1")
    await volumes.remove("vol-1")
    assert not list(await volumes.observe())


async def test_only_the_top_layer_is_writable_and_the_image_lies_below_it(volumes: Volumes) -> None:
    await volumes.ensure(spec("vol-1"))
    await volumes.ensure(spec("vol-2", image=None))
    assert [layer.writable for layer in await volumes.layers("vol-1")] == [True, False]
    assert [layer.writable for layer in await volumes.layers("vol-2")] == [True]
    top, bottom = await volumes.layers("vol-1")
    assert top.path.is_absolute()
    assert bottom.path.is_absolute()
    assert top.path != (await volumes.layers("vol-2"))[0].path


async def test_an_image_that_is_not_here_is_a_permanent_error(volumes: Volumes) -> None:
    with pytest.raises(PermanentError):
        await volumes.ensure(spec(image="dead"))
    assert not list(await volumes.observe())


async def test_a_volume_can_not_be_smaller_than_its_image(volumes: Volumes) -> None:
    with pytest.raises(PermanentError):
        await volumes.ensure(spec(size=4 * MIB))
    assert not list(await volumes.observe())


async def test_a_volume_grows_and_never_shrinks(volumes: Volumes) -> None:
    await volumes.ensure(spec(size=16 * MIB))
    await volumes.ensure(spec(size=32 * MIB))
    with pytest.raises(PermanentError):
        await volumes.ensure(spec(size=16 * MIB))


async def test_a_volume_that_is_not_here_has_no_layers(volumes: Volumes) -> None:
    with pytest.raises(PermanentError):
        await volumes.layers("vol-9")


async def test_a_cover_is_the_top_and_its_snapshot_is_taken_once_it_is_in_place(volumes: Volumes) -> None:
    await volumes.ensure(spec("vol-1", image=None))
    (bottom,) = await volumes.layers("vol-1")
    top = await volumes.cover("vol-1", "snap-1")
    assert top is not None
    assert await volumes.cover("vol-1", "snap-1") == top
    assert await volumes.uncovered("vol-1") == ("snap-1", top)
    assert [state.snapshots for state in await volumes.observe()] == [()]
    with pytest.raises(RetryableError):
        await volumes.cover("vol-1", "snap-2")
    await volumes.covered("vol-1")
    assert await volumes.uncovered("vol-1") is None
    assert await volumes.cover("vol-1", "snap-1") is None
    assert [state.snapshots for state in await volumes.observe()] == [("snap-1",)]
    assert [layer.path for layer in await volumes.layers("vol-1")] == [top.path, bottom.path]
    assert [layer.mergeable for layer in await volumes.layers("vol-1")] == [False, True]


async def test_layers_are_merged_once_their_snapshots_are_forgotten(volumes: Volumes) -> None:
    await volumes.ensure(spec("vol-1", image=None))
    for snapshot_id in ("snap-1", "snap-2"):
        await volumes.cover("vol-1", snapshot_id)
        await volumes.covered("vol-1")
    assert await volumes.next_merge("vol-1") is None
    await volumes.forget("vol-1", "snap-2")
    assert await volumes.next_merge("vol-1") is None
    await volumes.forget("vol-1", "snap-1")
    middle = (await volumes.layers("vol-1"))[1].path
    assert await volumes.next_merge("vol-1") == middle
    await volumes.merge("vol-1", middle)
    assert middle not in [layer.path for layer in await volumes.layers("vol-1")]
    assert len(await volumes.layers("vol-1")) == 2
    assert await volumes.next_merge("vol-1") is None


async def test_instance_store_volumes_and_those_that_are_not_here_have_no_snapshots(volumes: Volumes) -> None:
    await volumes.ensure(VolumeSpec(volume_id="vol-e", size=16 * MIB, kind="ephemeral"))
    for volume_id in ("vol-e", "vol-9"):
        with pytest.raises(PermanentError):
            await volumes.cover(volume_id, "snap-1")
