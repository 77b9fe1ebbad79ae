"""One subscription on a living session: items, notifications in order, and how their loss is noticed; no vendor types.

Every configured item always has a state: subscribed, or failed with a status that was handed over once.
"""

import asyncio
import collections
import logging
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, NamedTuple

from assets.frame import Flag
from assets.reading import Gap, Reading, Readings
from assets.status import BAD_NODE_ID_UNKNOWN, is_bad, name
from sources._devices import Outlet, now_us
from sources._link import DeviceLink
from sources._opcua_session import (
    LinkLostError,
    Notification,
    Session,
    SubscriptionLostError,
    Timing,
    TooManyError,
    UnreadableError,
)
from sources._opcua_values import NodeAddress, reading_of

log = logging.getLogger("sources.opcua")

PROBE_S: Final = 4.0
"""Pause between two looks whether the server answers; with the request's time-out a loss is seen within 10 s."""
OUTSTANDING: Final = 2
"""Publish requests on the way: with one only, the server waits a round trip between two notifications."""
ITEMS_PER_CALL: Final = 100
RETRY_S: Final = (5.0, 300.0)
"""First and longest wait before a failed item is tried again."""
NAMED: Final = 3
"""How many failed items a log line names."""


class Plan(NamedTuple):
    """What is to be watched; `failed` keeps, over all subscriptions of a source, what was said of failing items."""

    source: str
    nodes: Mapping[str, NodeAddress]
    timing: Timing
    failed: dict[int, int]


class Subscription:
    """A subscription from its creation to its loss."""

    def __init__(self, plan: Plan, session: Session, outlet: Outlet, link: DeviceLink) -> None:
        self.heard = False
        self._source, self._timing, self._failed = plan.source, plan.timing, plan.failed
        self._nodes = list(plan.nodes.values())
        self._session = session
        self._outlet = outlet
        self._link = link
        self._names = dict(enumerate(plan.nodes, 1))
        self._initial = set(self._names)
        self._id = 0
        self._next: int | None = None
        self._silent_since = 0.0
        self._created = False
        self._held_back = False
        self._keep_alive_s = 0.0

    async def run(self) -> None:
        """Read until the subscription or the link is lost; raises what happened."""
        namespaces = await self._session.namespaces()
        self._id, self._keep_alive_s = await self._session.subscribe(self._timing)
        self._silent_since = asyncio.get_running_loop().time()
        try:
            await _first_to_fail(self._read(), self._watch(), self._keep_items(namespaces))
        except SubscriptionLostError:
            await self._session.unsubscribe(self._id)
            raise

    async def _read(self) -> None:
        """Ask for notifications, take them in the order asked, and ask for no more than the flow can take."""
        asked: collections.deque[asyncio.Task[Notification]] = collections.deque()
        acknowledged: list[tuple[int, int]] = []
        try:
            while True:
                await self._room()
                while len(asked) < OUTSTANDING:
                    asked.append(asyncio.create_task(self._session.publish(acknowledged)))
                    acknowledged = []
                try:
                    notification = await asked[0]
                except UnreadableError as error:
                    self._missed(f"a notification could not be decoded ({error})")
                else:
                    acknowledged += self._take(notification)
                asked.popleft()
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _room(self) -> None:
        self._held_back = True
        await self._outlet.room()
        self._held_back = False

    def _take(self, notification: Notification) -> list[tuple[int, int]]:
        received = now_us()
        self._silent_since = asyncio.get_running_loop().time()
        if notification.ended:
            raise SubscriptionLostError(f"the server ended the subscription ({notification.ended})")
        if notification.subscription != self._id:
            return []
        if not notification.values:
            if self.heard or self._created:  # the first keep-alive comes before there is anything to be read
                self._prove(received)
            return []
        if self._next is not None and notification.sequence != self._next:
            self._missed(f"notifications {self._next} to {notification.sequence - 1} are missing")
        self._next = notification.sequence % 0xFFFFFFFF + 1  # wraps to 1 (OPC UA Part 4, 7.21)
        self._hand_over(received, self._readings(notification.values), notification.published_us)
        return [(self._id, notification.sequence)]

    def _readings(self, values: Iterable[tuple[int, Any]]) -> list[Reading]:
        readings = []
        for handle, value in values:
            address = self._names.get(handle)
            if address is None:
                continue
            flags = 0
            if handle in self._initial:
                self._initial.discard(handle)
                flags = int(Flag.INITIAL)
            readings.append(reading_of(address, value, flags))
        return readings

    def _prove(self, received: int) -> None:
        if self.heard:
            self._link.proved(received)
        else:
            self._link.found(received)
        self.heard = True

    def _hand_over(self, received: int, readings: list[Reading], clock: int | None = None) -> None:
        if readings:
            self._prove(received)
            self._outlet.put(Readings(received, readings, clock))

    def _missed(self, reason: str) -> None:
        """A hole between two notifications: what was in it is gone."""
        log.warning('source "%s" lost values: %s', self._source, reason)
        start = self._link.proved_at
        self._next = None
        self._outlet.gap(Gap([], now_us() if start is None else start, now_us(), reason))

    async def _watch(self) -> None:
        """Notice within 10 s that the server is gone, and that the subscription died on a living session."""
        loop = asyncio.get_running_loop()
        longest = 3 * self._keep_alive_s
        while True:
            await asyncio.sleep(PROBE_S)
            try:
                async with asyncio.timeout(self._timing.timeout_s):
                    await self._session.alive()
            except TimeoutError:
                raise LinkLostError(f"no answer within {self._timing.timeout_s:g} s") from None
            if self._held_back:
                self._outlet.prove()
                self._silent_since = loop.time()
            if loop.time() - self._silent_since > longest:
                raise SubscriptionLostError(f"no notification within {longest:g} s")

    async def _keep_items(self, namespaces: list[str]) -> None:
        """Create all items; try those that failed again for ever, because nodes may appear late."""
        wait_s, longest = RETRY_S
        handles = await self._create(list(self._names), namespaces, wait_s)
        self._created = True
        while handles:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, longest)
            handles = await self._create(handles, await self._session.namespaces(), wait_s)
        await asyncio.Event().wait()

    async def _create(self, handles: list[int], namespaces: list[str], wait_s: float) -> list[int]:
        """Create these items; returns those that failed."""
        statuses = dict.fromkeys(handles, BAD_NODE_ID_UNKNOWN)
        known = [handle for handle in handles if self._nodes[handle - 1].uri in namespaces]
        size = await self._session.items_per_call()
        size = min(size or ITEMS_PER_CALL, ITEMS_PER_CALL)
        while known:
            batch = known[:size]
            nodes = [self._nodes[handle - 1] for handle in batch]
            wanted = [(h, namespaces.index(n.uri), n) for h, n in zip(batch, nodes, strict=True)]
            try:
                results = await self._session.create_items(self._id, wanted, self._timing)
            except TooManyError:
                if size == 1:
                    raise LinkLostError("the server takes not even one item") from None
                size = max(1, size // 2)
                continue
            statuses.update(zip(batch, results, strict=True))
            known = known[size:]
        self._report(statuses, wait_s)
        return [handle for handle, status in statuses.items() if is_bad(status)]

    def _report(self, statuses: Mapping[int, int], wait_s: float) -> None:
        """Each item that fails is said once, and again only with another status."""
        news = {h: s for h, s in statuses.items() if is_bad(s) and self._failed.get(h) != s}
        for handle, status in statuses.items():
            if is_bad(status):
                self._failed[handle] = status
            else:
                self._failed.pop(handle, None)
        if not news:
            return
        some = ", ".join(f'"{self._names[handle]}" ({name(status)})' for handle, status in list(news.items())[:NAMED])
        more = f" and {len(news) - NAMED} more" if len(news) > NAMED else ""
        log.warning(
            'could not subscribe to %s%s of source "%s"; trying again in %g s', some, more, self._source, wait_s
        )
        self._hand_over(now_us(), [Reading(self._names[handle], None, status) for handle, status in news.items()])


async def _first_to_fail(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, then end the others and raise what ended it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
