"""Tasks as JSON: what is written down for another machine; nothing is unpickled.

A value is itself, or an object with one telling key: `path`, or `ref`, the number of a value in `shared`.
There all that may be used twice stands once: objects with the key `tuple`, `dict` or `enum`; and dataclasses
and named tuples, as the number of their class in `classes` and the values of the fields named there.
"""

import dataclasses
import importlib
import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, cast

from saeuniv.stages.task import Task

FORMAT = 1

_MODULES = "SAEUNIV_TASK_MODULES"
"""Environment variable: other modules whose tasks may be read, separated by commas."""


def task_json(task: Task) -> str:
    """The task as JSON, on one line.

    Raises:
        TypeError: a field is not of plain values.
        ValueError: a number is not finite.
    """
    writer = _Writer()
    whole = writer.value(task.portable())
    content = {"format": FORMAT, "stage": task.stage, "label": task.label, "task": whole}
    content |= {"classes": writer.classes, "shared": writer.shared}
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def read_task(text: str) -> Task:
    """The task that `task_json` wrote.

    Raises:
        ValueError: not a task, of another format, or of a class that is not one of saeuniv's.
    """
    try:
        content = cast(dict[str, Any], json.loads(text))
        written = content["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"expected a task as JSON, got something else ({error!r}).") from error
    if written != FORMAT:
        raise ValueError(
            f"expected a task of format {FORMAT}, got {written}. Emit it again with this version of saeuniv."
        )
    try:
        task = _Reader(content["classes"], content["shared"]).value(content["task"])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        # A field that this version does not have, or lacks; a reference to nothing.
        raise ValueError(
            f"expected a task of this version of saeuniv, got one that does not fit ({error!r}). "
            f"Emit it again with this version."
        ) from error
    if not isinstance(task, Task):
        raise ValueError(f"expected a task, got {type(task).__name__}.")
    return task


class _Writer:
    def __init__(self) -> None:
        self.classes: list[list[str]] = []
        self.shared: list[object] = []
        self._numbers: dict[type, int] = {}
        self._by_id: dict[int, tuple[object, int]] = {}
        self._by_text: dict[str, int] = {}

    def value(self, value: Any) -> object:
        match value:
            case None | bool() | int() | float() | str() if not isinstance(value, Enum):
                return value
            case Path():
                return {"path": str(value)}
            case list():
                return [self.value(each) for each in cast(list[Any], value)]
            case _:
                return {"ref": self._shared(value)}

    def _shared(self, value: Any) -> int:
        known = self._by_id.get(id(value))
        if known is None:
            written = self._written(value)
            text = json.dumps(written, separators=(",", ":"), allow_nan=False)
            if text not in self._by_text:
                self._by_text[text] = len(self.shared)
                self.shared.append(written)
            # The value is kept alive: an id names an object only while it lives.
            known = self._by_id[id(value)] = (value, self._by_text[text])
        return known[1]

    def _written(self, value: Any) -> object:
        if isinstance(value, Enum):
            return {"enum": _name(type(value)), "name": value.name}
        if isinstance(value, Mapping):
            items = cast(Mapping[object, Any], value)
            return {"dict": {str(key): self.value(each) for key, each in items.items()}}
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return {"tuple": [self.value(each) for each in cast(tuple[Any, ...], value)]}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [each.name for each in dataclasses.fields(value)]
        elif isinstance(value, tuple):
            names = list(value._fields)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            raise TypeError(f"expected plain values in a task, got {type(value).__name__}: {value!r}")
        return [self._number(type(value), names), *(self.value(getattr(value, name)) for name in names)]

    def _number(self, of: type, names: list[str]) -> int:
        if of not in self._numbers:
            self._numbers[of] = len(self.classes)
            self.classes.append([_name(of), *names])
        return self._numbers[of]


class _Reader:
    def __init__(self, classes: list[list[str]], shared: list[Any]) -> None:
        self._classes = [(_class(name), names) for name, *names in classes]
        self._shared: list[Any] = []
        for each in shared:
            self._shared.append(self._record(each) if isinstance(each, list) else self.value(each))

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(each) for each in cast(list[Any], value)]
        if not isinstance(value, dict):
            return value
        match value:
            case {"ref": int(number)}:
                return self._shared[number]
            case {"tuple": items}:
                return tuple(self.value(each) for each in items)
            case {"dict": items}:
                return {key: self.value(each) for key, each in items.items()}
            case {"path": str(path)}:
                return Path(path)
            case {"enum": str(name), "name": str(member)}:
                return _class(name)[member]
            case _:
                raise ValueError(f"expected a part of a task, got {value!r:.80}.")

    def _record(self, written: list[Any]) -> Any:
        (of, names), values = self._classes[written[0]], written[1:]
        if len(values) != len(names):
            raise ValueError(f"expected {len(names)} fields of {of.__name__}, got {len(values)}.")
        return of(**{name: self.value(each) for name, each in zip(names, values, strict=True)})


def _name(of: type) -> str:
    return f"{of.__module__}:{of.__qualname__}"


def _class(name: str) -> Any:
    """The class of a name, if it is a dataclass, named tuple or enumeration of a module we know."""
    module, _, qualified = name.partition(":")
    allowed = [each for each in os.environ.get(_MODULES, "").split(",") if each]
    if module not in allowed and not module.startswith("saeuniv."):
        raise ValueError(f"{name}: expected a class of saeuniv, got one of {module}.")
    try:
        found = getattr(importlib.import_module(module), qualified)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name}: expected a class of this version of saeuniv, found none.") from error
    is_record = isinstance(found, type) and (
        dataclasses.is_dataclass(found) or issubclass(found, Enum) or hasattr(found, "_fields")
    )
    if not is_record:
        raise ValueError(f"{name}: expected a dataclass, a named tuple or an enumeration.")
    return found
