"""Blocks that went to the client while the disk was full: they are in no file, and so the first to go there."""

from dataclasses import dataclass

from assets.batch import Outgoing
from sinks._spool import Block


@dataclass(eq=False)
class Sent:
    """A block that the client was given, all but a `rest`; `position` is its place in the spool once it has one."""

    block: Block
    rest: list[Outgoing]
    position: int | None = None


class Unfiled:
    """Those that Kafka has not acknowledged, in order; the client's queue bounds them. Only the last one has a rest."""

    def __init__(self) -> None:
        self._sent: dict[int, Sent] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def has(self, block: Block) -> bool:
        """Whether the client was given a part of a block or all of it."""
        return id(block) in self._sent

    def sent(self, block: Block) -> Sent:
        """The account of a block, from before it is produced: a report may come at once."""
        return self._sent.setdefault(id(block), Sent(block, block.records))

    def forget(self, sent: Sent) -> None:
        """It is in a file, or Kafka has it."""
        self._sent.pop(id(sent.block), None)

    @property
    def first(self) -> Sent | None:
        """The oldest one."""
        return next(iter(self._sent.values()), None)
