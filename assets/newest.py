"""The newest live value of every subject: what a store holds after any messages, also when some come again."""

from collections.abc import Iterable

import msgspec

from assets.batch import LiveValue


class Newest:
    """The fold of the live values of one partition."""

    def __init__(self, values: Iterable[LiveValue] = ()) -> None:
        self.values = {value.subject: value for value in values}

    def take(self, values: Iterable[LiveValue]) -> list[LiveValue]:
        """Take over what is newer; returns what a store has to be told, in order."""
        out: list[LiveValue] = []
        held = self.values
        for value in values:
            if not value.payload:
                self._end(value, out)
                continue
            before = held.get(value.subject)
            if before is None or (value.offset, value.index) > (before.offset, before.index):
                held[value.subject] = value
                out.append(value)
        return out

    def _end(self, end: LiveValue, out: list[LiveValue]) -> None:
        """Let the subjects under an end disappear, and those of an asset that moved appear where it is now.

        What is newer than the end comes again (else it would not be known yet), so it is forgotten, not moved.
        """
        gone = [value for subject, value in self.values.items() if subject.startswith(end.subject)]
        for value in gone:
            del self.values[value.subject]
        if end.moved_to is not None:
            skip, here = len(end.subject), (end.offset, end.index)
            older = [value for value in gone if (value.offset, value.index) < here]
            out += self.take(
                msgspec.structs.replace(value, subject=end.moved_to + value.subject[skip:]) for value in older
            )
        out += [LiveValue(value.subject, b"", end.partition, end.offset, end.index) for value in gone]
