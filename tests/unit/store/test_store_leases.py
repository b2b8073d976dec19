from datetime import timedelta

import pytest
from store_records import House, house

from pileus.store import LeaseLost


def test_a_lease_has_one_holder_until_it_expires(store, reopened, clock):
    other = reopened()
    mine = store.lease("scheduler", "me", 10)
    assert (mine.name, mine.holder, mine.expires) == ("scheduler", "me", clock.now() + timedelta(seconds=10))
    assert other.lease("scheduler", "you", 10) is None
    assert other.lease("another", "you", 10) is not None
    clock.time += timedelta(seconds=10)
    yours = other.lease("scheduler", "you", 10)
    assert yours.token > mine.token
    assert store.lease("scheduler", "me", 10) is None


def test_a_renewed_lease_lasts_longer_and_keeps_its_token(store, clock):
    mine = store.lease("l", "me", 10)
    clock.time += timedelta(seconds=8)
    renewed = store.renew(mine, 10)
    assert renewed.token == mine.token
    clock.time += timedelta(seconds=8)
    assert store.lease("l", "you", 10) is None


def test_a_lease_that_expired_can_be_renewed_while_nobody_took_it(store, clock):
    mine = store.lease("l", "me", 10)
    clock.time += timedelta(seconds=60)
    mine = store.renew(mine, 10)
    clock.time += timedelta(seconds=60)
    store.lease("l", "you", 10)
    with pytest.raises(LeaseLost):
        store.renew(mine, 10)


def test_a_released_lease_is_free_and_its_token_is_never_given_again(store):
    mine = store.lease("l", "me", 10)
    store.release(mine)
    with pytest.raises(LeaseLost):
        store.renew(mine, 10)
    yours = store.lease("l", "you", 10)
    assert yours.token > mine.token
    store.release(mine)  # lost already: nothing happens to the new holder
    assert store.renew(yours, 10).token == yours.token


def test_the_same_holder_gets_a_new_token_when_it_starts_again(store):
    before = store.lease("l", "me", 10)
    after = store.lease("l", "me", 10)
    assert after.token > before.token


def test_a_fenced_transaction_of_a_former_holder_writes_nothing(store, reopened, clock):
    mine = store.lease("l", "me", 10)

    def work(tx, lease, name):
        tx.put(house(name))
        tx.fence(lease)

    store.transact(lambda tx: work(tx, mine, "h-1"))
    clock.time += timedelta(seconds=11)
    store.transact(lambda tx: work(tx, mine, "h-2"))  # expired, but nobody else has it
    yours = reopened().lease("l", "you", 10)
    with pytest.raises(LeaseLost):
        store.transact(lambda tx: work(tx, mine, "h-3"))
    store.release(yours)
    with pytest.raises(LeaseLost):
        store.transact(lambda tx: work(tx, yours, "h-4"))
    assert [h.id for h in store.view().list(House)] == ["h-1", "h-2"]
