"""All files of a plant folder merged: what is written where, before anybody asks whether it makes sense."""

from pathlib import Path as FilePath
from typing import Any, Final

from assets._problems import Path, Place, Problems, suggestion
from assets._yaml import Document

SECTIONS: Final = ("sources", "types", "assets")


class Folder:
    """The entries of each section as plain values, and the place of every path in them."""

    def __init__(self, folder: FilePath) -> None:
        self.problems = Problems(str(folder), self.locate)
        self.sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self._homes: dict[Path, Document] = {}
        for file in self._files(folder):
            document = Document(file, folder, self.problems)
            if isinstance(document.content, dict):
                self._merge(document)
            else:
                self.problems.add_at(Place(document.name, 1), f"expected the sections {', '.join(SECTIONS)}")

    def locate(self, path: Path) -> Place:
        """The place of what stands at `path`, or of the nearest thing around it."""
        document = self._homes.get(path[:2]) or self._homes.get(path[:1])
        return Place(document.name, document.line(path)) if document else Place("", 0)

    def written(self, path: Path) -> Any:
        """What the file has at `path`, before any replacement; None when there is nothing."""
        value: Any = self.sections
        for step in path:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    def has(self, path: Path) -> bool:
        """Whether a file has an entry or option at `path`."""
        return isinstance(around := self.written(path[:-1]), dict) and path[-1] in around

    def nearest(self, at: tuple[Path, ...], steps: Path) -> Path:
        """The path among `at` below which `steps` is written, as far as it is; the first stands for all."""
        for length in range(len(steps), -1, -1):
            for base in at:
                if self.has((*base, *steps[:length])):
                    return (*base, *steps)
        return (*at[0], *steps)

    def _files(self, folder: FilePath) -> list[FilePath]:
        if not folder.is_dir():
            self.problems.add_at(Place(str(folder), 0), "is not a folder")
            return []
        files = sorted(file for file in folder.iterdir() if file.suffix in {".yaml", ".yml"} and file.is_file())
        if not files:
            self.problems.add_at(Place(str(folder), 0), "has no .yaml file")
        return files

    def _merge(self, document: Document) -> None:
        for section, entries in document.content.items():
            self._homes.setdefault((section,), document)
            place = Place(document.name, document.line((section,)))
            if section not in SECTIONS:
                self.problems.add_at(place, f"{section}: is unknown{suggestion(section, SECTIONS, 'sections')}")
            elif isinstance(entries, dict):
                for name, entry in entries.items():
                    self._add((section, name), entry, document)
            elif entries is not None:
                self.problems.add_at(place, f"{section}: expected names, each with its options below it")

    def _add(self, path: Path, entry: Any, document: Document) -> None:
        if path in self._homes:
            place = Place(document.name, document.line(path))
            self.problems.add_at(place, f"{'.'.join(path)}: is defined twice; the first is at {self.locate(path)}")
            return
        self._homes[path] = document
        self.sections[path[0]][path[1]] = entry
