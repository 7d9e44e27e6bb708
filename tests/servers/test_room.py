"""Bytes in flight: never more than allowed, nobody waits for ever, waiting is no timeout."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving import Misbehaving, picture

from collectors.downloading.fetch import Limits, open_fetcher
from collectors.downloading.guard import AddressGuard
from collectors.downloading.room import Room


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 3), st.booleans()), max_size=25),
)
def test_the_room_is_never_overdrawn_and_everybody_is_served(
    limit: int, wishes: list[tuple[int, int, bool]]
) -> None:
    async def work() -> None:
        room = Room(limit)
        held = served = 0

        async def one(n: int, turns: int) -> None:
            nonlocal held, served
            with room.hold() as hold:
                await hold.take(n)
                held += min(n, limit)
                try:
                    assert held <= limit
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    held -= min(n, limit)
            served += 1

        tasks = [asyncio.create_task(one(n, turns)) for n, turns, _ in wishes]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, wishes, strict=True):
            if cancelled and room._waiting:
                task.cancel()
                await asyncio.sleep(0)
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        lost = sum(isinstance(end, asyncio.CancelledError) for end in ends)
        assert not [end for end in ends if isinstance(end, AssertionError)]
        assert served + lost == len(wishes)
        assert room.fits(limit)

    asyncio.run(work())


async def test_waiting_for_room_is_no_timeout(server: Misbehaving) -> None:
    """Three bodies, room for one, and who holds it keeps it longer than a request may take."""
    size = len(picture(1))
    limits = Limits(timeout_s=0.4, in_flight=size)
    async with open_fetcher(limits, AddressGuard(["127.0.0.1"])) as fetcher:
        most = open_now = 0

        async def one() -> str | None:
            nonlocal most, open_now
            with fetcher.hold() as hold:
                answer = await fetcher.fetch(server.url("/same"), hold)
                open_now += 1
                most = max(most, open_now)
                await asyncio.sleep(0.5)
                open_now -= 1
                return answer.error_class

        assert await asyncio.gather(one(), one(), one()) == [None, None, None]
        assert most == 1


async def test_a_file_larger_than_all_the_room_is_fetched_alone(server: Misbehaving) -> None:
    limits = Limits(timeout_s=2.0, in_flight=10)
    async with open_fetcher(limits, AddressGuard(["127.0.0.1"])) as fetcher:
        asked = [fetcher.fetch(server.url(f"/ok/{n}")) for n in range(6)]
        answers = await asyncio.gather(*asked)
    assert [answer.body for answer in answers] == [picture(n) for n in range(6)]
