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
            subject, offset = value.subject, value.offset
            before = held.get(subject)
            if before is None or offset > before.offset or (offset == before.offset and value.index > before.index):
                held[subject] = value
                out.append(value)
        return out

    def _end(self, end: LiveValue, out: list[LiveValue]) -> None:
        """Let the subjects under an end disappear, and what was said there appear where it goes on.

        What is newer than the end comes again (else it would not be known yet), so it is forgotten, not moved.
        """
        gone = self._under(end.subject)
        for value in gone:
            del self.values[value.subject]
        if end.moved_to is not None:
            here = (end.offset, end.index)
            out += self.take(_moved(value, end) for value in gone if (value.offset, value.index) < here)
        out += [LiveValue(value.subject, b"", end.partition, end.offset, end.index) for value in gone]

    def _under(self, subject: str) -> list[LiveValue]:
        if not subject.endswith("."):
            return [self.values[subject]] if subject in self.values else []
        return [value for known, value in self.values.items() if known.startswith(subject)]


def _moved(value: LiveValue, end: LiveValue) -> LiveValue:
    """The value where it goes on: at another path of its asset, or under another name of its item."""
    subject = (end.moved_to or "") + value.subject[len(end.subject) :]
    payload = value.payload
    if not end.subject.endswith("."):
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        name = msgspec.json.encode(subject.rpartition(".")[2])
        payload = msgspec.json.encode({**fields, "item": msgspec.Raw(name)})
    return msgspec.structs.replace(value, subject=subject, payload=payload)
