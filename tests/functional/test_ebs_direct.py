"""The EBS direct APIs, through botocore's client."""

import asyncio
import base64
import hashlib
from datetime import timedelta

import pytest
from awaitable_client import Awaitable
from botocore.exceptions import ClientError

from pileus.engines.blocks.interface import BLOCK
from pileus.records import Snapshot
from pileus.records.snapshot import NO_VOLUME


def text(fill):
    return bytes([fill]) * BLOCK


def digest(data):
    return hashlib.sha256(data).digest()


def linear(*blocks):
    return base64.b64encode(digest(b"".join(map(digest, blocks)))).decode()


@pytest.fixture
def ebs(cloud):
    return Awaitable(cloud.client("ebs"))


@pytest.fixture
def put(ebs):
    async def write(snapshot_id, index, data, **other):
        return await ebs.put_snapshot_block(
            **{
                "SnapshotId": snapshot_id,
                "BlockIndex": index,
                "BlockData": data,
                "DataLength": len(data),
                "Checksum": base64.b64encode(digest(data)).decode(),
                "ChecksumAlgorithm": "SHA256",
                **other,
            }
        )

    return write


@pytest.fixture
def written(ebs, put):
    """``await written({0: data})``: the id of a completed snapshot of one GiB."""

    async def write(blocks, **start):
        started = await ebs.start_snapshot(**{"VolumeSize": 1, **start})
        for index, data in blocks.items():
            await put(started["SnapshotId"], index, data)
        done = await ebs.complete_snapshot(SnapshotId=started["SnapshotId"], ChangedBlocksCount=len(blocks))
        assert done["Status"] == "completed"
        return started["SnapshotId"]

    return write


@pytest.fixture
def content(ebs):
    """``await content(id)``: the blocks of a snapshot that hold data."""

    async def read(snapshot_id):
        listed = await ebs.list_snapshot_blocks(SnapshotId=snapshot_id)
        found = {}
        for block in listed["Blocks"]:
            answer = await ebs.get_snapshot_block(
                SnapshotId=snapshot_id, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"]
            )
            data = await asyncio.to_thread(answer["BlockData"].read)
            assert answer["DataLength"] == BLOCK == len(data)
            assert answer["Checksum"] == base64.b64encode(digest(data)).decode()
            assert answer["ChecksumAlgorithm"] == "SHA256"
            found[block["BlockIndex"]] = data
        return found

    return read


async def refused(call, code, reason=None):
    with pytest.raises(ClientError) as error:
        await call
    answer = error.value.response
    assert answer["Error"]["Code"] == code, answer
    if reason is not None:
        assert answer["Reason"] == reason, answer
    return answer


async def test_what_is_written_is_read(cloud, ebs, ec2, put, content):
    started = await ebs.start_snapshot(
        VolumeSize=1, Description="by hand", Tags=[{"Key": "Name", "Value": "one"}], Timeout=30
    )
    id_ = started["SnapshotId"]
    assert (started["Status"], started["VolumeSize"], started["BlockSize"]) == ("pending", 1, BLOCK)
    assert (started["OwnerId"], started["Description"], started["SseType"]) == ("000000000001", "by hand", "none")
    assert started["Tags"] == [{"Key": "Name", "Value": "one"}]
    assert "KmsKeyArn" not in started
    answer = await put(id_, 5, text(9))
    assert answer["Checksum"] == base64.b64encode(digest(text(9))).decode()
    for index, fill in ((2047, 3), (0, 1), (5, 2), (7, 0)):
        await put(id_, index, text(fill))
    (seen,) = (await ec2.describe_snapshots(SnapshotIds=[id_]))["Snapshots"]
    assert (seen["State"], seen["VolumeId"], seen["Encrypted"]) == ("pending", NO_VOLUME, False)
    done = await ebs.complete_snapshot(
        SnapshotId=id_,
        ChangedBlocksCount=4,
        Checksum=linear(text(1), text(2), text(0), text(3)),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    assert done["Status"] == "completed"
    assert await content(id_) == {0: text(1), 5: text(2), 2047: text(3)}
    (seen,) = (await ec2.describe_snapshots(SnapshotIds=[id_]))["Snapshots"]
    assert (seen["State"], seen["Progress"], seen["Description"]) == ("completed", "100%", "by hand")
    assert seen["FullSnapshotSizeInBytes"] == 3 * BLOCK
    assert (await ebs.complete_snapshot(SnapshotId=id_, ChangedBlocksCount=4))["Status"] == "completed"
    await cloud.settled()


async def test_on_top_of_a_parent(ebs, written, content):
    first = await written({0: text(1), 1: text(2), 2: text(3)})
    second = await written({1: text(0), 2: text(4), 4096: text(5)}, ParentSnapshotId=first, VolumeSize=3)
    assert await content(second) == {0: text(1), 2: text(4), 4096: text(5)}
    changed = await ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
    assert [
        (one["BlockIndex"], "FirstBlockToken" in one, "SecondBlockToken" in one) for one in changed["ChangedBlocks"]
    ] == [(1, True, False), (2, True, True), (4096, False, True)]
    assert (changed["VolumeSize"], changed["BlockSize"]) == (3, BLOCK)
    old, new = changed["ChangedBlocks"][1]["FirstBlockToken"], changed["ChangedBlocks"][1]["SecondBlockToken"]
    for id_, token, expected in ((first, old, text(3)), (second, new, text(4))):
        answer = await ebs.get_snapshot_block(SnapshotId=id_, BlockIndex=2, BlockToken=token)
        assert await asyncio.to_thread(answer["BlockData"].read) == expected
    # Without a first one, all that hold data.
    changed = await ebs.list_changed_blocks(SecondSnapshotId=second)
    assert [one["BlockIndex"] for one in changed["ChangedBlocks"]] == [0, 2, 4096]
    assert all("FirstBlockToken" not in one for one in changed["ChangedBlocks"])
    # The parent goes, its blocks stay as far as they are needed.
    other = await written({0: text(6)})
    await refused(
        ebs.list_changed_blocks(FirstSnapshotId=other, SecondSnapshotId=second),
        "ValidationException",
        "UNRELATED_SNAPSHOTS",
    )


async def test_pages(ebs, written):
    id_ = await written({index: text(index % 250 + 1) for index in range(0, 330, 3)})
    indexes, token, pages = [], None, 0
    while True:
        more = {"NextToken": token} if token else {}
        page = await ebs.list_snapshot_blocks(SnapshotId=id_, MaxResults=100, **more)
        indexes += [one["BlockIndex"] for one in page["Blocks"]]
        pages += 1
        token = page.get("NextToken")
        if token is None:
            break
    assert (indexes, pages) == (list(range(0, 330, 3)), 2)
    page = await ebs.list_snapshot_blocks(SnapshotId=id_, StartingBlockIndex=100)
    assert [one["BlockIndex"] for one in page["Blocks"]] == list(range(102, 330, 3))
    page = await ebs.list_changed_blocks(SecondSnapshotId=id_, MaxResults=100)
    token = page["NextToken"]
    await refused(
        ebs.list_snapshot_blocks(SnapshotId=id_, NextToken=token), "ValidationException", "INVALID_PAGE_TOKEN"
    )
    await refused(
        ebs.list_snapshot_blocks(SnapshotId=id_, NextToken="abc="), "ValidationException", "INVALID_PAGE_TOKEN"
    )
    await refused(
        ebs.list_snapshot_blocks(SnapshotId=id_, StartingBlockIndex=2048),
        "ValidationException",
        "INVALID_PARAMETER_VALUE",
    )


async def test_block_tokens_are_of_one_block_of_one_snapshot(cloud, ebs, written):
    one, other = await written({0: text(1), 1: text(2)}), await written({0: text(3)})
    listed = await ebs.list_snapshot_blocks(SnapshotId=one)
    token = listed["Blocks"][0]["BlockToken"]
    assert timedelta(days=6) < listed["ExpiryTime"] - cloud.store.view().get(Snapshot, one).started
    forged = base64.b64encode(bytes(byte ^ 1 for byte in base64.b64decode(token))).decode()
    for id_, index, given in ((one, 1, token), (other, 0, token), (one, 0, forged), (one, 0, "AAAA"), (one, 0, "A")):
        await refused(
            ebs.get_snapshot_block(SnapshotId=id_, BlockIndex=index, BlockToken=given),
            "ValidationException",
            "INVALID_BLOCK_TOKEN",
        )


async def test_whose_snapshots(cloud, ebs, ec2, put, written):
    id_ = await written({0: text(1)})
    other = Awaitable(cloud.client("ebs", credentials=cloud.add_account("000000000002")))
    token = (await ebs.list_snapshot_blocks(SnapshotId=id_))["Blocks"][0]["BlockToken"]
    for call in (
        other.list_snapshot_blocks(SnapshotId=id_),
        other.get_snapshot_block(SnapshotId=id_, BlockIndex=0, BlockToken=token),
        other.start_snapshot(VolumeSize=1, ParentSnapshotId=id_),
        other.complete_snapshot(SnapshotId=id_, ChangedBlocksCount=0),
    ):
        await refused(call, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
    await ec2.modify_snapshot_attribute(
        SnapshotId=id_, Attribute="createVolumePermission", OperationType="add", UserIds=["000000000002"]
    )
    listed = await other.list_snapshot_blocks(SnapshotId=id_)
    # A token is the account's that it was given to.
    await refused(
        other.get_snapshot_block(SnapshotId=id_, BlockIndex=0, BlockToken=token),
        "ValidationException",
        "INVALID_BLOCK_TOKEN",
    )
    answer = await other.get_snapshot_block(SnapshotId=id_, BlockIndex=0, BlockToken=listed["Blocks"][0]["BlockToken"])
    assert await asyncio.to_thread(answer["BlockData"].read) == text(1)
    await refused(
        other.complete_snapshot(SnapshotId=id_, ChangedBlocksCount=0), "AccessDeniedException", "UNAUTHORIZED_ACCOUNT"
    )


async def test_what_can_not_be_written(ebs, ec2, put, written):
    id_ = (await ebs.start_snapshot(VolumeSize=1))["SnapshotId"]
    for reason, change in (
        ("INVALID_PARAMETER_VALUE", {"BlockIndex": 2048}),
        ("INVALID_BLOCK", {"DataLength": BLOCK - 1}),
        ("INVALID_BLOCK", {"BlockData": b"short", "DataLength": 5}),
        ("INVALID_BLOCK", {"Checksum": base64.b64encode(bytes(32)).decode()}),
        ("INVALID_PARAMETER_VALUE", {"Checksum": "A"}),
    ):
        call = put(**{"snapshot_id": id_, "index": 0, "data": text(1), **change})
        await refused(call, "ValidationException", reason)
    await refused(put("snap-0123456789abcdef0", 0, text(1)), "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
    done = await written({0: text(1)})
    await refused(put(done, 0, text(2)), "ValidationException", "INVALID_SNAPSHOT_ID")
    await refused(ebs.list_snapshot_blocks(SnapshotId=id_), "ValidationException", "INVALID_SNAPSHOT_ID")


async def test_what_can_not_be_started(ebs, written):
    parent = await written({0: text(1)}, VolumeSize=2)
    for reason, params in (
        ("INVALID_VOLUME_SIZE", {"VolumeSize": 65537}),
        ("INVALID_VOLUME_SIZE", {"VolumeSize": 1, "ParentSnapshotId": parent}),
        ("INVALID_PARAMETER_VALUE", {"VolumeSize": 2, "ParentSnapshotId": parent, "Encrypted": True}),
        ("INVALID_TAG", {"VolumeSize": 1, "Tags": [{"Key": "aws:x", "Value": ""}]}),
        ("INVALID_TAG", {"VolumeSize": 1, "Tags": [{"Key": str(n), "Value": ""} for n in range(51)]}),
    ):
        await refused(ebs.start_snapshot(**params), "ValidationException", reason)
    arn = "arn:aws:kms:us-east-1:000000000001:key/11111111-2222-4333-8444-555555555555"
    await refused(
        ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=arn),
        "ResourceNotFoundException",
        "DEPENDENCY_RESOURCE_NOT_FOUND",
    )


async def test_client_tokens(ebs):
    first = await ebs.start_snapshot(VolumeSize=1, ClientToken="once")
    again = await ebs.start_snapshot(VolumeSize=1, ClientToken="once")
    assert first["SnapshotId"] == again["SnapshotId"]
    assert first["StartTime"] == again["StartTime"]
    await refused(ebs.start_snapshot(VolumeSize=2, ClientToken="once"), "ConflictException")


async def test_completing_says_what_was_written(ebs, put, content):
    id_ = (await ebs.start_snapshot(VolumeSize=1))["SnapshotId"]
    await put(id_, 0, text(1))
    how = {"ChecksumAlgorithm": "SHA256", "ChecksumAggregationMethod": "LINEAR"}
    for params in (
        {"ChangedBlocksCount": 2},
        {"ChangedBlocksCount": 1, "Checksum": linear(text(2)), **how},
        {"ChangedBlocksCount": 1, "Checksum": linear(text(1))},
        {"ChangedBlocksCount": 1, **how},
    ):
        await refused(ebs.complete_snapshot(SnapshotId=id_, **params), "ValidationException", "INVALID_PARAMETER_VALUE")
    # It was turned down, so it can be gone on with.
    await put(id_, 1, text(2))
    done = await ebs.complete_snapshot(SnapshotId=id_, ChangedBlocksCount=2, Checksum=linear(text(1), text(2)), **how)
    assert done["Status"] == "completed"
    assert await content(id_) == {0: text(1), 1: text(2)}


async def test_an_empty_snapshot(written, content):
    assert await content(await written({})) == {}


async def test_encrypted(cloud, ebs, ec2, put, written, content):
    kms = Awaitable(cloud.client("kms"))
    arn = (await kms.create_key())["KeyMetadata"]["Arn"]
    started = await ebs.start_snapshot(VolumeSize=1, Encrypted=True, KmsKeyArn=arn)
    id_ = started["SnapshotId"]
    assert (started["KmsKeyArn"], started["SseType"]) == (arn, "sse-kms")
    secret = (b"the guest's secret " * BLOCK)[:BLOCK]
    await put(id_, 3, secret)
    assert (
        await ebs.complete_snapshot(
            SnapshotId=id_,
            ChangedBlocksCount=1,
            Checksum=linear(secret),
            ChecksumAlgorithm="SHA256",
            ChecksumAggregationMethod="LINEAR",
        )
    )["Status"] == "completed"
    assert await content(id_) == {3: secret}
    (seen,) = (await ec2.describe_snapshots(SnapshotIds=[id_]))["Snapshots"]
    assert (seen["Encrypted"], seen["KmsKeyId"]) == (True, arn)
    # On top of it, under the same key; nothing of either is stored in the clear.
    child = await written({4: text(7)}, ParentSnapshotId=id_)
    assert await content(child) == {3: secret, 4: text(7)}
    for bucket in range(256):
        for stored in cloud.blocks._shelf.list(bucket):
            data = cloud.blocks._shelf.read(stored.digest)
            assert data[:1] in {b"\x02", b"\x10", b"\x11"}
            assert b"secret" not in data
    # Without the key, nothing can be read.
    tokens = (await ebs.list_snapshot_blocks(SnapshotId=id_))["Blocks"]
    await kms.disable_key(KeyId=arn)
    await refused(
        ebs.get_snapshot_block(SnapshotId=id_, BlockIndex=3, BlockToken=tokens[0]["BlockToken"]),
        "ValidationException",
        "INVALID_DEPENDENCY_REQUEST",
    )
    await refused(ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=id_), "ValidationException", "INVALID_CUSTOMER_KEY")


async def test_encryption_by_default_seals_what_comes_from_the_parent_too(cloud, ebs, ec2, written, content):
    parent = await written({0: text(1), 9: text(2)})
    await ec2.enable_ebs_encryption_by_default()
    child = await written({9: text(3), 10: text(4)}, ParentSnapshotId=parent)
    assert await content(child) == {0: text(1), 9: text(3), 10: text(4)}
    assert cloud.store.view().get(Snapshot, child).encrypted


async def test_copies_under_another_key(cloud, ebs, ec2, written, content, in_time):
    source = await written({0: text(1), 9: text(2)})
    copy = (await ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source, Encrypted=True))["SnapshotId"]
    await in_time(lambda view: view.get(Snapshot, copy).state == "completed")
    record = cloud.store.view().get(Snapshot, copy)
    assert record.encrypted
    assert record.full_bytes == 2 * BLOCK
    await ec2.delete_snapshot(SnapshotId=source)
    assert await content(copy) == {0: text(1), 9: text(2)}
    again = (await ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=copy))["SnapshotId"]
    await in_time(lambda view: view.get(Snapshot, again).state == "completed")
    assert await content(again) == {0: text(1), 9: text(2)}


async def test_a_copy_whose_source_can_not_be_read_is_in_error(cloud, ec2, written, in_time):
    source = await written({0: text(1), 9: text(2)})
    shelf = cloud.blocks._shelf
    for digest_, (data, used) in tuple(shelf.blocks.items()):
        if data[:1] == b"\x01":
            shelf.blocks[digest_] = (data[:-1] + b"?", used)
    copy = (await ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source, Encrypted=True))["SnapshotId"]
    await in_time(lambda view: view.get(Snapshot, copy).state == "error")
    assert "block 0 of snapshot" in cloud.store.view().get(Snapshot, copy).state_message
    assert "is damaged" in cloud.store.view().get(Snapshot, copy).state_message


async def test_damage_is_named_and_not_returned(cloud, ebs, written, caplog):
    id_ = await written({0: text(1), 1: text(2)})
    tokens = (await ebs.list_snapshot_blocks(SnapshotId=id_))["Blocks"]
    shelf = cloud.blocks._shelf
    bad = next(digest_ for digest_, (data, _) in shelf.blocks.items() if data[:1] == b"\x01")
    shelf.blocks[bad] = (shelf.blocks[bad][0][:-1] + b"?", 0.0)
    assert await cloud.keeper.check(bad[0]) == 1
    (named,) = [entry for entry in caplog.records if entry.message == "a damaged block"]
    assert (named.block, named.needed_by) == (bad.hex(), [id_])
    answers = []
    once = Awaitable(cloud.client("ebs"))
    for one in tokens:
        try:
            answer = await once.get_snapshot_block(SnapshotId=id_, **one)
            answers.append(await asyncio.to_thread(answer["BlockData"].read))
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InternalServerException"
            assert f"Snapshot '{id_}'" in error.response["Error"]["Message"]
            answers.append(None)
    assert answers.count(None) == 1
    assert set(answers) <= {None, text(1), text(2)}


async def test_given_up_when_nothing_is_written(cloud, clock, ebs, put, in_time):
    idle = (await ebs.start_snapshot(VolumeSize=1, Timeout=10))["SnapshotId"]
    busy = (await ebs.start_snapshot(VolumeSize=1, Timeout=60))["SnapshotId"]
    await put(busy, 0, text(1))
    await in_time(lambda view: view.get(Snapshot, idle).state == "error")
    assert cloud.store.view().get(Snapshot, busy).state == "pending"
    await refused(put(idle, 0, text(1)), "ValidationException", "INVALID_SNAPSHOT_ID")
    await in_time(lambda view: view.get(Snapshot, busy).state == "error")
    await refused(
        ebs.complete_snapshot(SnapshotId=busy, ChangedBlocksCount=1), "ValidationException", "INVALID_SNAPSHOT_ID"
    )


async def test_nothing_is_left_of_what_was_deleted(cloud, clock, ebs, ec2, put, written, content):
    kept, gone = await written({0: text(1), 1: text(2)}), await written({1: text(2), 2: text(3)})
    open_ = (await ebs.start_snapshot(VolumeSize=1, Timeout=4320))["SnapshotId"]
    await put(open_, 0, text(4))
    await ec2.delete_snapshot(SnapshotId=gone)
    clock.advance(4000)
    await cloud.keeper.collect()
    assert len(cloud.blocks._shelf.blocks) == 5  # two blocks, a page, a root; and the open one's block
    assert await content(kept) == {0: text(1), 1: text(2)}
    await ec2.delete_snapshot(SnapshotId=kept)
    await ec2.delete_snapshot(SnapshotId=open_)
    clock.advance(4000)
    await cloud.keeper.collect()
    assert not cloud.blocks._shelf.blocks
    assert cloud.blocks.ledger.drafts() == []


async def test_the_storage_process_may_be_down_meanwhile(cloud, ebs, put, content):
    id_ = (await ebs.start_snapshot(VolumeSize=1))["SnapshotId"]
    await put(id_, 0, text(1))
    await cloud.kill_storage()
    task = asyncio.create_task(ebs.complete_snapshot(SnapshotId=id_, ChangedBlocksCount=1))
    await cloud.until(lambda view: view.get(Snapshot, id_).writing.closed is not None)
    cloud.start_storage()
    assert (await task)["Status"] == "completed"
    assert await content(id_) == {0: text(1)}


async def test_the_block_store_may_be_away_for_a_moment(cloud, ebs, put, content):
    id_ = (await ebs.start_snapshot(VolumeSize=1))["SnapshotId"]
    shelf, failures = cloud.blocks._shelf, []
    stage, read = shelf.stage, shelf.read

    def broken(good):
        def call(*args):
            if len(failures) % 4:
                failures.append(args)
                raise OSError(105, "away")
            return good(*args)

        return call

    shelf.stage, shelf.read = broken(stage), broken(read)
    failures.append("once")
    await put(id_, 0, text(1))
    failures.append("twice")
    await ebs.complete_snapshot(SnapshotId=id_, ChangedBlocksCount=1)
    assert await content(id_) == {0: text(1)}
    assert len(failures) == 8
