"""The generated pages: options from the models that check them, columns from the views that exist."""

import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from assets._schema import AssetOptions, CounterOptions, ItemOptions, TypeOptions
from assets.connection import KafkaConnection, NatsConnection
from assets.duration import format_duration
from assets.frame import Flag
from assets.plugins import discover
from assets.states import VOCABULARIES
from replay.archive import connect

HEAD: Final = "<!-- Generated from the code by `python -m docs`; do not edit. -->\n\n"
SIGNS: Final[Mapping[type[Any], tuple[tuple[str, str]]]] = {
    Gt: (("gt", ">"),),
    Ge: (("ge", ">="),),
    Lt: (("lt", "<"),),
    Le: (("le", "<="),),
}
PLAIN: Final = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}


def sources() -> str:
    """Every option of every protocol."""
    parts = ["# Options of sources\n\nUnder `sources:` of the [plant folder](../configuration.md), by protocol.\n"]
    for protocol, config in discover("sources", "Config").items():
        parts.append(f"## {protocol}\n\n{_paragraph(config)}\n\n{_options(config)}")
        for name, inner in _inner_models(config):
            parts.append(f"### {protocol}: `{name}`\n\n{_paragraph(inner)}\n\n{_options(inner)}")
    return HEAD + "\n".join(parts)


def plant() -> str:
    """Every option of types, assets, items and counters, and the vocabularies of states."""
    models: Sequence[tuple[str, type[BaseModel]]] = (
        ("types", TypeOptions),
        ("assets", AssetOptions),
        ("items", ItemOptions),
        ("items: counter", CounterOptions),
    )
    parts = ["# Options of types, assets and items\n\nSee [configuration](../configuration.md) for examples.\n"]
    parts += [f"## {name}\n\n{_paragraph(model)}\n\n{_options(model)}" for name, model in models]
    rows = [(f"`{name}`", ", ".join(v.names)) for name, v in VOCABULARIES.items()]
    parts.append(f"## Vocabularies of `states`\n\n{_table(('vocabulary', 'states'), rows)}")
    return HEAD + "\n".join(parts)


def rules() -> str:
    """Every option of every rule kind."""
    parts = ["# Options of rules\n\nUnder `derive:` of a type or asset: `METRIC: {KIND: ITEM, OPTION: VALUE}`.\n"]
    for kind, spec in discover("operators", "Spec").items():
        parts.append(f"## {kind}\n\n{_paragraph(spec)}\n\n{_options(spec, {'item': kind})}")
    return HEAD + "\n".join(parts)


def environment() -> str:
    """The variables by which servers are reached, and the flags of observations."""
    parts = ["# Connections and flags\n\nThe other variables are in [operating](../operating.md).\n"]
    for prefix, model in (("KAFKA", KafkaConnection), ("NATS", NatsConnection)):
        names = {name: f"{prefix}_{name.upper()}" for name in model.model_fields}
        parts.append(f"## {prefix}\n\n{_options(model, names)}")
    rows = [(str(int(flag)), f"`{flag.name.lower()}`", _flag_text(flag)) for flag in Flag if flag.name]
    parts.append(f"## Flags of an observation\n\n{_table(('bit', 'name', 'meaning'), rows)}")
    return HEAD + "\n".join(parts)


def archive() -> str:
    """The views and macros of the archive, as an empty one has them."""
    with tempfile.TemporaryDirectory() as folder:
        connection = connect(Path(folder))
        parts = ["# Views and macros of the archive\n\nSee [querying](../querying.md) for examples.\n"]
        for view in ("observations", "observations_all", "series", "definitions", "items", "derived"):
            described = connection.execute(f"DESCRIBE {view}").fetchall()
            rows = [(f"`{row[0]}`", row[1]) for row in described]
            parts.append(f"## view {view}\n\n{_table(('column', 'type'), rows)}")
        query = (
            "SELECT function_name, parameters FROM duckdb_functions() WHERE NOT internal "
            "AND function_type IN ('macro', 'table_macro') AND function_name != 'files_of' ORDER BY 1"
        )
        macros = [f"* `{name}({', '.join(arguments)})`" for name, arguments in connection.execute(query).fetchall()]
        connection.close()
    parts.append("## macros\n\n" + "\n".join(macros) + "\n")
    return HEAD + "\n".join(parts)


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "sources.md": sources,
    "plant.md": plant,
    "rules.md": rules,
    "connections.md": environment,
    "archive.md": archive,
}


def _options(model: type[BaseModel], names: Mapping[str, str] | None = None) -> str:
    names = names or {}
    rows = [
        (f"`{names.get(name, name)}`", _kind(field), _default(field), " ".join((field.description or "").split()))
        for name, field in model.model_fields.items()
    ]
    return _table(("option", "value", "default", "meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _inner_models(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield name, kind


def _marks(field: FieldInfo) -> list[Any]:
    """What is attached to the type of an option: limits and validators, also inside of `X | None`."""
    inner = [mark for arg in get_args(field.annotation) for mark in getattr(arg, "__metadata__", ())]
    return [flat for mark in [*field.metadata, *inner] for flat in getattr(mark, "metadata", [mark])]


def _is_duration(field: FieldInfo) -> bool:
    checks = [getattr(getattr(mark, "func", None), "__name__", "") for mark in _marks(field)]
    return "_duration" in checks


def _kind(field: FieldInfo) -> str:
    words = "duration" if _is_duration(field) else _words(field.annotation)
    limits = [f"{sign} {getattr(m, key):g}" for m in _marks(field) for key, sign in SIGNS.get(type(m), ())]
    return ", ".join([words, *limits])


def _words(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin in {Union, UnionType}:
        return " or ".join(_words(arg) for arg in inner if arg is not NoneType)
    if origin is tuple:
        return "list" if Ellipsis in inner else f"list of {len(inner)}"
    if hasattr(annotation, "__metadata__"):
        return _words(annotation.__origin__)
    if origin is dict:
        return "names, each with its value"
    if annotation is SecretStr:
        return "text (secret)"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "options"
    return PLAIN.get(getattr(annotation, "__name__", ""), str(annotation))


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "required"
    if default is None or default is PydanticUndefined or isinstance(default, tuple | dict | BaseModel):
        return ""
    if _is_duration(field):
        return f"`{format_duration(default)}`" if default else "`0s`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if default != "" else ""


def _flag_text(flag: Flag) -> str:
    """The text below a member of the enum, from the source: Python keeps none."""
    match = re.search(rf'{flag.name} = {int(flag)}\n\s+"""(.*?)"""', inspect.getsource(Flag), re.DOTALL)
    return " ".join(match[1].split()) if match else ""
