"""Print the documentation of the running Python's standard library, as JSON; a script for a fresh interpreter.

``pydocs.py`` runs this file with ``python -I -S``, so that nothing that is installed, imported or set in the environment
can change what is found.  It needs the standard library alone and imports none of our modules.

A document is a public module, class, function, method, property or other object with a docstring of its own.  An object
that is reachable under several names gets one document under one name, see ``_preference``.  Not here on purpose: names
with a leading underscore, generated docstrings, and the modules in ``SKIPPED_MODULES``.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SKIPPED_MODULES = frozenset(
    [
        # They do something when imported, or are applications and tests rather than a library.
        *("antigravity", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo", "__main__"),
        # Parts that a build of Python may lack: with them, the same version would give different documents.
        *("curses", "dbm.gnu", "dbm.ndbm", "dbm.sqlite3", "nis", "ossaudiodev", "readline", "rlcompleter", "spwd"),
        *("tkinter", "turtle"),
        # Implementations of what other modules export (os, os.path, re), and packaging that was removed.
        *("distutils", "genericpath", "nt", "ntpath", "nturl2path", "opcode", "posix", "posixpath"),
        *("sre_compile", "sre_constants", "sre_parse"),
        # Helpers of one operating system.
        *("asyncio.windows_events", "asyncio.windows_utils", "ctypes.macholib", "ctypes.wintypes", "msilib", "msvcrt"),
        *("multiprocessing.popen_spawn_win32", "winreg", "winsound"),
    ]
)
SKIPPED_PACKAGES = frozenset({"encodings"})
"""Packages whose submodules are left out; these are some hundred tables."""
SKIPPED_NAMES = frozenset({"test", "tests", "__main__"})
"""Submodules of any package."""

GENERATED = re.compile(r"Alias for field number \d+$|An enumeration\.$")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")


class Name(NamedTuple):
    """One public name of an object; a class in the name is what stands before its last dot."""

    doc_id: str
    is_abroad: bool
    """Whether the object, or the class in the name, says that it lives in another module."""
    is_member: bool = False
    """Whether there is a class in the name, which passes itself or an instance as the first argument."""
    is_inherited: bool = False
    """Whether the class in the name only inherits the object."""
    is_renamed: bool = False
    """Whether the class in the name calls itself otherwise (``socket.SocketType``)."""
    num_bases: int = 0
    """Length of the method resolution order of the class in the name."""


class Entry(NamedTuple):
    """An object with all its public names; it keeps the object alive, so that its ``id`` stays its own."""

    anchor: Any
    value: Any
    names: list[Name]


def main() -> None:
    """Print ``{"docs": [[id, text], ...], "failed": {module: reason}}`` on stdout."""
    # A module that prints when it is imported must not spoil the JSON.
    result = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    failed: dict[str, str] = {}
    modules = dict(_import_modules(failed))
    entries: dict[int, Entry] = {}
    for module_name, module in modules.items():
        _add_module(entries, module_name, module)
    with result:
        json.dump({"docs": sorted(_render(modules, entries).items()), "failed": failed}, result)


def _import_modules(failed: dict[str, str]) -> Iterator[tuple[str, types.ModuleType]]:
    """Yield the public modules by name; those that cannot be imported go to ``failed`` with the reason."""
    waiting = sorted((n for n in sys.stdlib_module_names if _is_walked(n)), reverse=True)
    while waiting:
        name = waiting.pop()
        try:
            module = importlib.import_module(name)
        except (ImportError, AttributeError, OSError) as error:  # another platform's module, or left out of this build
            failed[name] = str(error)
            continue
        yield name, module
        if hasattr(module, "__path__") and name not in SKIPPED_PACKAGES:
            found = (f"{name}.{info.name}" for info in pkgutil.iter_modules(module.__path__))
            waiting.extend(sorted(filter(_is_walked, found), reverse=True))
    yield "os.path", os.path


def _is_walked(name: str) -> bool:
    last = name.rpartition(".")[2]
    return name not in SKIPPED_MODULES and not last.startswith("_") and last not in SKIPPED_NAMES


def _add_module(entries: dict[int, Entry], module_name: str, module: types.ModuleType) -> None:
    prefix = "" if module_name == "builtins" else f"{module_name}."
    homes = {module_name, f"_{module_name}", module.__name__}
    for name in sorted(vars(module).keys() | set(getattr(module, "__all__", ()))):
        value = getattr(module, name, None)
        if name.startswith("_") or isinstance(value, types.ModuleType) or not _is_exported(module, name, value, homes):
            continue
        is_abroad = getattr(value, "__module__", None) not in homes
        _add(entries, _anchor(value, name), value, Name(f"{prefix}{name}", is_abroad))
        if isinstance(value, type):
            _add_members(entries, f"{prefix}{name}", value, is_abroad=is_abroad)


def _is_exported(module: types.ModuleType, name: str, value: Any, homes: set[str]) -> bool:
    """Tell a module's own public names from what it merely imported."""
    home = getattr(value, "__module__", None)
    if isinstance(home, str) and home.startswith(f"{module.__name__}."):
        return True  # a package that shows what its submodules define, listed in __all__ or not (asyncio.TaskGroup)
    exported = getattr(module, "__all__", None)
    # __all__ may lag behind what a C half brings in (hashlib.scrypt).
    return name in exported or home == f"_{module.__name__}" if exported is not None else home in homes


def _add_members(entries: dict[int, Entry], class_id: str, owner: type, *, is_abroad: bool) -> None:
    bases = [base for base in owner.__mro__ if base is not object]
    is_renamed = class_id.rpartition(".")[2] != owner.__name__
    for name in sorted({name for base in bases for name in vars(base) if not name.startswith("_")}):
        home = next(base for base in bases if name in vars(base))
        raw = vars(home)[name]
        value = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
        if isinstance(value, type):
            if value.__qualname__ == f"{owner.__qualname__}.{name}":  # defined here, not merely referred to
                _add(entries, value, value, Name(f"{class_id}.{name}", is_abroad, is_inherited=home is not owner))
                _add_members(entries, f"{class_id}.{name}", value, is_abroad=is_abroad)
            continue
        if not hasattr(type(raw), "__get__"):  # a constant, or a C function that does not become a method
            continue
        found = Name(
            f"{class_id}.{name}",
            is_abroad,
            is_member=not isinstance(raw, staticmethod),
            is_inherited=home is not owner,
            is_renamed=is_renamed,
            num_bases=len(bases),
        )
        _add(entries, value, value, found)


def _add(entries: dict[int, Entry], anchor: Any, value: Any, name: Name) -> None:
    entries.setdefault(id(anchor), Entry(anchor, value, [])).names.append(name)


def _anchor(value: Any, name: str) -> Any:
    """Return what a module-level name shares with the method it may be bound to (``random.random``)."""
    if isinstance(value, types.MethodType):
        return value.__func__
    if isinstance(value, types.BuiltinMethodType) and not isinstance(value.__self__, types.ModuleType | type | None):
        return getattr(type(value.__self__), name, value)
    return value


def _preference(name: Name) -> tuple[bool, bool, int, bool, int, int, str]:
    """Sort the owner before its heirs, then the fewest dots, the home module, the most basic class, the shortest."""
    return (
        name.is_renamed,
        name.is_inherited,
        name.doc_id.count("."),
        name.is_abroad,
        name.num_bases,
        len(name.doc_id),
        name.doc_id,
    )


def _render(modules: dict[str, types.ModuleType], entries: dict[int, Entry]) -> dict[str, str]:
    """Return id -> text; a function wins over a module of the same name (``unittest.main``)."""
    texts = {}
    for module_name, module in modules.items():
        doc = _docstring(module)
        if doc:
            texts[module_name] = f"{module_name}\n\n{doc}"
    for entry in entries.values():
        doc = _docstring(entry.value)
        name = min(entry.names, key=_preference)
        if doc:
            signature = _signature(entry.value, is_member=any(other.is_member for other in entry.names))
            texts[name.doc_id] = f"{name.doc_id}{signature}\n\n{doc}"
    return texts


def _docstring(value: Any) -> str:
    """Return what the object itself says, empty for nothing; a class goes on with what its ``__init__`` says."""
    doc = getattr(value, "__doc__", None)  # that of a class is never its base's
    if not isinstance(value, type):
        has_own = isinstance(value, types.ModuleType) or inspect.isroutine(value) or doc != type(value).__doc__
        return _cleaned(doc) if has_own else ""
    doc = _cleaned(doc)
    if hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields"):
        # The docstring that a dataclass, a named tuple and a syntax node get by themselves: "Point(x, y)".
        doc = re.sub(rf"\A{re.escape(value.__name__)}\([^\n]*\)(?: -> None)?\Z", "", doc)
    start = vars(value).get("__init__")
    start_doc = _cleaned(start.__doc__) if isinstance(start, types.FunctionType) else ""
    return "\n\n".join(filter(None, [doc, start_doc]))


def _cleaned(doc: object) -> str:
    """Return a docstring without indentation; empty when there is none, or a generated one, or one word."""
    if not isinstance(doc, str):
        return ""
    doc = ADDRESS.sub("0x...", inspect.cleandoc(doc)).strip()
    return "" if GENERATED.match(doc) or len(doc.split()) < 2 else doc


def _signature(value: Any, *, is_member: bool) -> str:
    """Return ``(a, b=1)``, or nothing where it is unknown or says nothing; annotations are left out."""
    try:
        signature = inspect.signature(value)
    except (AttributeError, NameError, SyntaxError, TypeError, ValueError):  # a C docstring that is no valid signature
        return ""
    parameters = list(signature.parameters.values())
    if is_member and not isinstance(value, type):
        parameters = parameters[1:]
    if [p.kind for p in parameters] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
        return ""
    plain = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else _Raw(p.default)) for p in parameters
    ]
    try:
        return str(inspect.Signature(plain))
    except ValueError:
        return ""


class _Raw:
    """A default value, shown so that it is the same on every machine."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        value = self.value
        if isinstance(value, enum.Enum):
            return f"{type(value).__name__}.{value.name}"
        if isinstance(value, type) or inspect.isroutine(value):
            return str(value.__name__)
        is_path = isinstance(value, str) and len(value) > 1 and Path(value).is_absolute()  # such as sys.executable
        if value is None or type(value) in (bool, int, float, complex, str, bytes) or value in ((), [], {}):
            return "..." if is_path else repr(value)
        return "..."


if __name__ == "__main__":
    main()
