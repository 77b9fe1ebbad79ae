"""Options checked by pydantic, and its findings in words for the writer of the file.

Secrets are never repeated: not those of the environment, not those of secret options, nothing below an unknown option.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from assets._folder import Folder
from assets._problems import Path, suggestion

M = TypeVar("M", bound=BaseModel)

_SECRET_NAME = re.compile(r"passw|secret|token|credential|private|_key$|^key$")

_EXPECTED: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "dict_type": "names, each with its value",
    "model_type": "options, each with its value",
    "model_attributes_type": "options, each with its value",
    "list_type": "a list",
    "tuple_type": "a list",
}

_COMPARED: Mapping[str, tuple[str, str]] = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


def check(
    model: type[M], options: Any, at: tuple[Path, ...], folder: Folder, names: Mapping[str, str] | None = None
) -> M | None:
    """The options as `model`; what is wrong becomes problems and the result None.

    `at` are the paths where the options may be written, the most specific first. `names` gives the written name of an
    option where it differs from the model's.
    """
    if options is None:
        options = {}
    if not isinstance(options, dict):
        folder.problems.add(at[0], "expected options, each with its value")
        return None
    try:
        return model.model_validate(options)
    except ValidationError as error:
        for finding in error.errors(include_url=False):
            if not _unanswered(finding["input"]):
                steps = tuple((names or {}).get(step, step) for step in _own_steps(finding, options))
                place = folder.nearest(at, steps)
                folder.problems.add(place, _say(finding, model, folder.written(place)))
        return None


def rest(model: type[M], options: Any) -> M | None:
    """The known options of entries that `check` refused, so that what is wrong with these is found as well."""
    try:
        return model.model_validate({key: options[key] for key in model.model_fields if key in options})
    except (ValidationError, TypeError):
        return None


def _own_steps(finding: Any, options: Any) -> list[str]:
    """The steps of a finding that the writer wrote: pydantic adds tags of unions and names of checks."""
    steps = []
    for step in map(str, finding["loc"]):
        if isinstance(options, dict) and step in options:
            options = options[step]
        elif isinstance(options, list) and step.isdigit() and int(step) < len(options):
            options = options[int(step)]
        elif finding["type"] != "missing" or step != str(finding["loc"][-1]):
            continue
        steps.append(step)
    return steps


def _unanswered(value: Any) -> bool:
    """Whether the value refers to something that is missing, which is a problem already."""
    return isinstance(value, str) and "${" in value


def _say(finding: Any, model: type[BaseModel], written: Any) -> str:
    steps = [str(step) for step in finding["loc"]]
    kind, context = finding["type"], finding.get("ctx", {})
    it_is = _quote(finding["input"], steps, model, written)
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return f"is unknown{suggestion(steps[-1], _options_around(model, steps), 'options')}"
    if kind == "value_error":
        return _without_secret(str(context["error"]), finding["input"], steps, model, written)
    if kind in {"literal_error", "enum"}:
        return f"expected {context['expected'].replace(chr(39), '')}{it_is}{_meant(finding, context, it_is)}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{it_is}"
    if kind in _COMPARED:
        word, limit = _COMPARED[kind]
        return f"expected {word} {context[limit]:g}{it_is}"
    return f"{finding['msg'][0].lower()}{finding['msg'][1:]}"


def _meant(finding: Any, context: Any, it_is: str) -> str:
    if not it_is or not isinstance(finding["input"], str):
        return ""
    found = suggestion(finding["input"], re.findall(r"'([^']*)'", context["expected"]), "")
    return found if found.startswith("; did") else ""


def _quote(value: Any, steps: list[str], model: type[BaseModel], written: Any) -> str:
    if isinstance(written, str) and "${" in written:
        return f"; it is what {written} stands for"
    if _secret(model, steps) or not isinstance(value, int | float | str) or len(str(value)) > 60:
        return ""
    if isinstance(value, bool):
        return f"; it is {str(value).lower()}"
    return f'; it is "{value}"' if isinstance(value, str) else f"; it is {value}"


def _without_secret(text: str, value: Any, steps: list[str], model: type[BaseModel], written: Any) -> str:
    if isinstance(written, str) and "${" in written:
        return text.replace(str(value), written)
    return text.replace(str(value), "***") if _secret(model, steps) else text


def _secret(model: type[BaseModel], steps: list[str]) -> bool:
    return any(map(_SECRET_NAME.search, steps)) or any("Secret" in str(a) for a in _annotations(model, steps))


def _options_around(model: type[BaseModel], steps: list[str]) -> list[str]:
    """The names of the options that may stand where the last of `steps` does."""
    models = [inner for _, inner in _fields(model, steps[:-1])]
    around = models[-1] if models and models[-1] else model
    return list(around.model_fields)


def _annotations(model: type[BaseModel], steps: list[str]) -> list[Any]:
    return [annotation for annotation, _ in _fields(model, steps)]


def _fields(model: type[BaseModel], steps: list[str]) -> Iterator[tuple[Any, type[BaseModel] | None]]:
    """The types of the options along `steps`, each with the model of the options below it."""
    inner: type[BaseModel] | None = model
    for step in steps:
        if inner is not None and step in inner.model_fields:
            annotation = inner.model_fields[step].annotation
            inner = _model_in(annotation)
            yield annotation, inner


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m), None)
