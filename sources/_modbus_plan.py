"""Which Modbus addresses are read together: the requests of a poll; no network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sources._modbus_address import BIT_TABLES, FUNCTIONS, Address, Hole
from sources._modbus_values import Decode, decoder


class Limits(NamedTuple):
    """How much one request may ask for, and how many unused addresses it may span to save another request."""

    registers: int = 125
    bits: int = 2000
    fill_gap: int = 12
    holes: tuple[Hole, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """What one request reads."""

    table: str
    start: int
    count: int
    addresses: tuple[Address, ...]
    decode: Decode


def group(addresses: Iterable[Address], limits: Limits) -> list[Block]:
    """The fewest requests that respect the limits: neighbours are read together, never across a hole."""
    blocks: list[Block] = []
    run: list[Address] = []
    for address in sorted(addresses, key=lambda a: (FUNCTIONS[a.table], a.start, a.count)):
        if run and not _fits(run, address, limits):
            blocks.append(make_block(run))
            run = []
        run.append(address)
    return [*blocks, make_block(run)] if run else blocks


def _fits(run: Sequence[Address], address: Address, limits: Limits) -> bool:
    end = max(member.end for member in run)
    length = max(end, address.end) - run[0].start
    between = [hole for hole in limits.holes if hole.table == address.table]
    return (
        address.table == run[0].table
        and address.start - end <= limits.fill_gap
        and length <= (limits.bits if address.table in BIT_TABLES else limits.registers)
        and not any(hole.first < address.start and hole.last >= end for hole in between)
    )


def halves(block: Block) -> tuple[Block, Block]:
    """The same addresses in two requests: to find out which of them the device refuses."""
    middle = len(block.addresses) // 2
    return make_block(block.addresses[:middle]), make_block(block.addresses[middle:])


def make_block(addresses: Sequence[Address]) -> Block:
    """One request for all these addresses of one table, with its decoder."""
    start, end = min(a.start for a in addresses), max(a.end for a in addresses)
    return Block(addresses[0].table, start, end - start, tuple(addresses), decoder(addresses, start))
