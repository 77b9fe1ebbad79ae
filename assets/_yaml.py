"""YAML files of the plant folder, with the line of everything in them.

YAML 1.2's core schema: `on`, `off`, `12:30` and dates are text, because they are enum names and addresses here.
"""

import re
from pathlib import Path as FilePath
from typing import Any

import yaml

from assets._problems import Path, Place, Problems

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}


_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("tag:yaml.org,2002:float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
)
for _tag, _form, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_form})$"), _first)

_VALUES: dict[str, Any] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": lambda text: int(text, 16) if text.startswith("0x") else int(text),
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:str": str,
}


class Document:
    """One file: its content as plain values, and the line of any path in it."""

    def __init__(self, file: FilePath, folder: FilePath, problems: Problems) -> None:
        self.name = file.relative_to(folder).as_posix()
        self._problems = problems
        self._open: set[int] = set()
        self._root = self._compose(file)
        self.content = self._build(self._root, ()) if self._root else {}

    def line(self, path: Path) -> int:
        """The line of what stands at `path`, or of the nearest thing around it."""
        node, line = self._root, 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line

    def _compose(self, file: FilePath) -> Any:
        try:
            loader = _Loader(file.read_bytes())
            try:
                return loader.get_single_node()
            finally:
                loader.dispose()
        except OSError as error:
            self._problems.add_at(Place(self.name, 0), f"could not be read: {error.strerror}")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            # The name of an alias or tag may be a secret that begins with a sign of YAML: it is not repeated.
            what = re.sub(r"(alias|tag handle|anchor)\b.*", r"\1", error.problem or "something is out of place")
            self._problems.add_at(Place(self.name, mark.line + 1 if mark else 0), f"is not YAML: {what}")
        except yaml.YAMLError:
            self._problems.add_at(Place(self.name, 0), "is not YAML: it is not text in UTF-8")
        return None

    def _build(self, node: Any, path: Path) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._problem(node, path, "contains itself")
            return None
        self._open.add(id(node))
        built = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self._open.discard(id(node))
        return built

    def _scalar(self, node: Any, path: Path) -> Any:
        if node.tag in _VALUES:
            return _VALUES[node.tag](node.value)
        self._problem(node, path, "a value must not begin with !; put it in quotes")
        return None

    def _list(self, node: Any, path: Path) -> list[Any]:
        return [self._build(child, (*path, str(i))) for i, child in enumerate(node.value)]

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        built: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "a key must be a name; put it in quotes")
            elif key.value in built:
                first = f"{self.name}:{lines[key.value]}"
                self._problem(key, (*path, key.value), f"is defined twice; the first is at {first}")
            else:
                lines[key.value] = key.start_mark.line + 1
                built[key.value] = self._build(child, (*path, key.value))
        return built

    def _problem(self, node: Any, path: Path, text: str) -> None:
        where = f"{'.'.join(path)}: " if path else ""
        self._problems.add_at(Place(self.name, node.start_mark.line + 1), f"{where}{text}")


def _child(node: Any, step: str) -> tuple[int, Any] | None:
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            if key.value == step:
                return key.start_mark.line + 1, child
    elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
        child = node.value[int(step)]
        return child.start_mark.line + 1, child
    return None
