"""Code of one's own: networks, terms, sources and data named ``./file.py:name`` or ``package.module:name``.

One loader for all of them. It knows three things about a name:

* *which code it is*: the SHA-256 of the file and of every other file of one's own that it imports (:func:`locate`, which reads
  files and runs nothing);
* *what it means*: the class or function, once its file has been run (:func:`load`);
* *who says so*: a word of the user (the command line, Python, an experiment in TOML) may run code; a record, a paper file or the
  header of a weights file is data and may not, unless the user has already run this very code in this process.

What is neither a class nor a function made in that module (``os:system``, ``subprocess:run``) is refused before it is called.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import sysconfig
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ClassVar

from redistill.errors import RedistillError, nearest

LIBRARIES = ("torchvision", "timm", "hf")
"""``timm:resnet50`` names a network of a library that is called by name, never by import."""

UNSAFE = ("trust_remote_code", "code_revision", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
"""Arguments with which a library itself runs or fetches code and files."""


def is_code(name: str) -> bool:
    """Whether a name means code of one's own, which is run to use it."""
    return ":" in name and name.partition(":")[0] not in LIBRARIES


def refuse_code(name: str, where: str) -> None:
    """For names that stand in data and can only be names of this package (or of a library)."""
    if is_code(name):
        raise RedistillError(f"{where} names {name!r}, code from elsewhere, which data may not choose: name a network of this package")


def placeless(written: Mapping[str, Any]) -> dict[str, Any]:
    """Without the place of a file whose SHA-256 stands beside it."""
    return {key: value for key, value in written.items() if key != "file" or "code" not in written}


@dataclass(frozen=True)
class Located:
    """Code that was found and not run.

    Attributes:
        name: how experiments call it: ``./file.py:name`` without folders, or ``module:name``.
        code: SHA-256 of its file; with files of one's own that it imports, of all of them. file: that file, for a reference by path.
        helpers: those other files, by the name they are imported under.
    """

    name: str
    code: str
    file: str | None
    path: Path | None
    helpers: Mapping[str, Path] = field(default_factory=dict)

    @property
    def described(self) -> str:
        return f"{self.name} ({self.path or 'a module without a file'}, SHA-256 {self.code[:12]})"


@dataclass(frozen=True)
class Own:
    """An object that stands outside the package; see :class:`Located` for its other attributes."""

    name: str
    code: str
    file: str | None
    object: Any


# ---------------------------------------------------------------------------------------------------------------------
# Which code it is
# ---------------------------------------------------------------------------------------------------------------------
def locate(reference: str, folder: Path, *, file: str | None = None, code: str | None = None) -> Located:
    """The file behind a reference, and what is known of it, without running anything.

    Args:
        reference: ``./file.py:name`` (relative to ``folder``) or ``module:name``.
        file, code: from a record: where the file was, and the SHA-256 it had. Code that changed since is refused.
    """
    where, _, name = reference.rpartition(":")
    if not where or not name:
        raise RedistillError(f"{reference!r}: write ./file.py:Name or package.module:Name")
    if where.endswith(".py"):
        path = (Path(file) if file else folder / Path(where).expanduser()).expanduser()
        try:
            path = path.resolve()
            there = path.is_file()
        except OSError as error:
            raise RedistillError(f"{reference!r}: cannot look at {path}: {error.strerror or error}") from error
        if not there:
            given = path if file else Path(where)
            raise RedistillError(f"{reference!r}: there is no file {given}" + ("" if given.is_absolute() else f" in {folder.absolute()}"))
        package: tuple[str, ...] = ()
        found = Located(f"./{path.name}:{name}", "", str(path), path)
    else:
        origin, package = _module_file(where)
        found = Located(reference, "", None, origin)
    if found.path is None:
        return found
    helpers = _helpers(found.path, package)
    content = _digest(found.path)
    if helpers:
        parts = {"": content, **{module: _digest(helper) for module, helper in helpers.items()}}
        content = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    if code is not None and code != content:
        more = f" (or one of {', '.join(sorted(helpers))}, which it imports)" if helpers else ""
        raise RedistillError(
            f"{reference!r}: {found.path}{more} has changed since (SHA-256 {content[:12]}, the record says {code[:12]}): put the old "
            f"file back, or remove the key 'code' to use the new one"
        )
    return Located(found.name, content, found.file, found.path, helpers)


def files_of(located: Located) -> dict[str, bytes]:
    """The file of a reference by path and every file of one's own that it imports, by their places in a folder in which
    ``./file.py:name`` finds all of them again; empty for ``module:name``, which is installed and not copied."""
    if located.file is None or located.path is None:
        return {}
    found = {located.path.name: located.path}
    for module, path in located.helpers.items():
        place = module.replace(".", "/")
        found[f"{place}/__init__.py" if path.name == "__init__.py" else f"{place}.py"] = path
    return {place: path.read_bytes() for place, path in found.items()}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RedistillError(f"cannot read {path}: {error.strerror or error}") from error


def _module_file(module: str) -> tuple[Path | None, tuple[str, ...]]:
    """The file of a module and its package, found as Python finds it but without running the packages above it."""
    parts = module.split(".")
    if (known := sys.modules.get(module)) is not None:
        origin, is_package = getattr(known, "__file__", None), hasattr(known, "__path__")
    else:
        search: list[str] | None = None
        spec = None
        for number in range(len(parts)):
            name = ".".join(parts[: number + 1])
            spec = None if number and search is None else _found(name, search)
            if spec is None:
                raise RedistillError(
                    f"{module}: there is no module {name!r} to import; for a file write ./{parts[-1]}.py:Name, for a folder that "
                    f"Python does not search set PYTHONPATH"
                )
            inside = spec.submodule_search_locations
            search = None if inside is None else list(inside)
        assert spec is not None
        origin, is_package = spec.origin if spec.has_location else None, search is not None
    return None if origin is None else Path(origin), tuple(parts if is_package else parts[:-1])


def lines_of(made: type) -> str | None:
    """What a class of the user's own says, comments and layout left out; None for an installed one, or where its lines are gone."""
    try:
        file = Path(inspect.getsourcefile(made) or "").resolve()
        if any(file.is_relative_to(folder) for folder in _installed()):
            return None
        return ast.dump(ast.parse(textwrap.dedent(inspect.getsource(made))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


def beside(made: type) -> dict[str, str]:
    """SHA-256 of every file of one's own that the file of a class imports, directly or through another, by the name of its module;
    nothing of an installed class, or of one without a file."""
    module = sys.modules.get(made.__module__)
    if (where := getattr(module, "__file__", None)) is None:
        return {}
    file = Path(where).resolve()
    if not file.is_file() or any(file.is_relative_to(folder) for folder in _installed()):
        return {}
    package = tuple(part for part in (getattr(module, "__package__", None) or "").split(".") if part)
    return {name: _digest(helper) for name, helper in _helpers(file, package).items()}


def _found(name: str, search: list[str] | None) -> ModuleSpec | None:
    specs = (finder.find_spec(name, search, None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Where files lie that are nobody's own: Python's library and installed packages, and this package."""
    import site

    folders = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages() or ""}
    folders |= {folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")}  # of other prefixes
    return (*(Path(folder).resolve() for folder in folders if folder), Path(__file__).resolve().parent)


def _helpers(start: Path, package: tuple[str, ...]) -> dict[str, Path]:
    """Every file of one's own that a file imports, directly or through another: module name -> file.

    Imports are read from the text, wherever they stand in it; modules named by a computed text are not seen.
    """
    beside = [] if package else [str(start.parent)]
    found: dict[str, Path] = {}
    waiting = [(start, package)]
    while waiting:
        path, inside = waiting.pop()
        for module in _imported(path, inside):
            parts = module.split(".")
            if parts[0] in sys.stdlib_module_names or parts[0] in ("redistill", "__main__"):
                continue
            for number in range(len(parts)):  # a.b.c runs a, then a.b, then a.b.c
                name = ".".join(parts[: number + 1])
                if name in found:
                    continue
                file = _own_file(name, beside)
                if file is None:
                    continue
                if file != start:
                    found[name] = file
                    is_package = file.name == "__init__.py"
                    waiting.append((file, tuple(parts[: number + 1] if is_package else parts[:number])))
    return dict(sorted(found.items()))


def _own_file(module: str, beside: list[str]) -> Path | None:
    """The file of a module if it is one's own: found, with a source, and not installed."""
    parts = module.split(".")
    search: list[str] | None = [*beside, *sys.path]
    spec = None
    for number in range(len(parts)):
        if search is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), search)
        if spec is None:
            return None
        search = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    if spec is None or spec.origin is None or not spec.has_location or not spec.origin.endswith(".py"):
        return None
    file = Path(spec.origin).resolve()
    return None if any(file.is_relative_to(folder) for folder in _installed()) else file


def _imported(path: Path, package: tuple[str, ...]) -> Iterator[str]:
    """Names of the modules (and of what may be modules) that a file imports."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return  # it cannot be run either, and then that is said
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = [*base, *(node.module.split(".") if node.module else [])]
            if stem:
                yield ".".join(stem)
                yield from (".".join([*stem, alias.name]) for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value.lstrip(".") or "__main__"


# ---------------------------------------------------------------------------------------------------------------------
# Who says so
# ---------------------------------------------------------------------------------------------------------------------
_ran: set[tuple[str, str]] = set()  # (name, SHA-256) of code that a word of the user has run in this process


def require_word(located: Located, code: str | None) -> None:
    """Refuse to run code that only data name, unless the user's own word has run it in this process already.

    Raises:
        RedistillError: with its file and its SHA-256, and how it is allowed.
    """
    if code is None or (located.name, located.code) not in _ran:
        raise RedistillError(
            f"this names code of its own, {located.described}, and is data: what it names is run only if you say so. If you trust "
            f"that file, add --trust-code (in Python: trust_code=True)"
        )


# ---------------------------------------------------------------------------------------------------------------------
# What it means
# ---------------------------------------------------------------------------------------------------------------------
def load(
    reference: str,
    folder: Path,
    *,
    file: str | None = None,
    code: str | None = None,
    kind: type | None = None,
    trusted: bool = False,
) -> Own:
    """Run the file that ``reference`` names and return what it means there.

    Args:
        file, code: see :func:`locate`. kind: a class must be a subclass of it; None: any class made in that module.
        trusted: the user says so; otherwise see :func:`require_word`.
    """
    located = locate(reference, folder, file=file, code=code)
    if not trusted:
        require_word(located, code)
    name = reference.rpartition(":")[2]
    module = _module(located, reference)
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        where = reference.rpartition(":")[0]
        raise RedistillError(f"{reference!r}: {nearest(name, public, f'name in {where}')}")
    made = getattr(module, name)
    _require_made_there(made, located, module, kind, reference)
    _ran.add((located.name, located.code))
    return Own(located.name, located.code, located.file, made)


def load_if(
    trusted: bool, reference: str, folder: Path, *, file: str | None = None, code: str | None = None, kind: type | None = None
) -> Own | Located:
    """Run the code on the user's word, otherwise only find it: what is needed to name an experiment, and none of it runs."""
    if trusted:
        return load(reference, folder, file=file, code=code, kind=kind, trusted=True)
    return locate(reference, folder, file=file, code=code)


def _require_made_there(made: Any, located: Located, module: ModuleType, kind: type | None, reference: str) -> None:
    """Only a class of the right kind, or a class or function made in that module, may be called."""
    while isinstance(made, functools.partial):
        made = made.func
    expected = f"a {kind.__name__} class, or a function" if kind is not None else "a class or function"
    if isinstance(made, type) and kind is not None and issubclass(made, kind):
        return
    home = getattr(made, "__module__", None)
    home = home if isinstance(home, str) else ""
    top = module.__name__.partition(".")[0]
    there = home == module.__name__ or home in located.helpers or (top not in sys.stdlib_module_names and home.partition(".")[0] == top)
    makes = inspect.isfunction(made) or hasattr(made, "__wrapped__") or (isinstance(made, type) and kind is None)
    if not (there and makes) or top in sys.stdlib_module_names:
        what = f"{made!r}"[:100]
        raise RedistillError(f"{reference!r} must be {expected} made in that file or module, it is {what}")


_imported_as: dict[str, str] = {}  # module -> SHA-256 of its code when it was imported


def _module(located: Located, reference: str) -> ModuleType:
    where = reference.rpartition(":")[0]
    if located.file is None:
        if where.partition(".")[0] in sys.stdlib_module_names:
            raise RedistillError(f"{reference!r} must be a class or function made in a module of one's own, {where} is Python's own")
        try:
            module = importlib.import_module(where)
        except Exception as error:
            raise RedistillError(f"{reference!r}: cannot import {where!r} ({type(error).__name__}: {error})") from error
        if _imported_as.setdefault(where, located.code) != located.code:
            raise RedistillError(f"{reference!r}: {located.path} has changed since it was imported: start Python again to use it")
        return module
    assert located.path is not None
    known = f"redistill_own_{located.code[:16]}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, located.path, loader=_Fresh(known, str(located.path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _Helpers.offer(located)
    sys.modules[known] = module  # dataclasses look their module up while they are being made
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[known]
        if isinstance(error, Exception):
            raise RedistillError(f"{located.path} cannot be imported: {type(error).__name__}: {error}") from error
        raise
    return module


class _Fresh(SourceFileLoader):
    """Runs the text of a file: a stored compilation is known by its time and size, which two versions may share."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        made: CodeType = self.source_to_code(self.get_data(path), path)
        return made


class _Helpers:
    """Finds the files beside a file of one's own, and nothing else of its folder: ``import blocks`` works from anywhere."""

    files: ClassVar[dict[str, Path]] = {}
    loaded: ClassVar[dict[str, str]] = {}  # helper -> SHA-256 of what was run under this name

    @classmethod
    def offer(cls, located: Located) -> None:
        """From now on these helpers are meant; what another file, or an earlier version, had under such a name is forgotten."""
        for name, path in located.helpers.items():
            known, content = sys.modules.get(name), _digest(path)
            same = str(getattr(known, "__file__", "")) == str(path) and cls.loaded.get(name, content) == content
            if known is not None and not same:
                del sys.modules[name]
            cls.loaded[name] = content
        cls.files |= located.helpers
        if not any(finder is cls for finder in sys.meta_path):
            sys.meta_path.insert(0, cls)

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        file = cls.files.get(name)
        if file is not None and file.is_file():
            inside = [str(file.parent)] if file.name == "__init__.py" else None
            loader = _Fresh(name, str(file))
            return importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=inside)
        for helper, below in cls.files.items():
            if helper.startswith(f"{name}."):  # a folder of helpers without an __init__.py
                spec = ModuleSpec(name, None, is_package=True)
                up = len(helper.split(".")) - len(name.split(".")) - (below.name != "__init__.py")
                spec.submodule_search_locations = [str(below.parents[up])]
                return spec
        return None


def parameters(made: Any) -> frozenset[str]:
    """The names that a class or function can be called with."""
    try:
        return frozenset(inspect.signature(made).parameters)
    except (TypeError, ValueError) as error:
        raise RedistillError(f"{made!r} cannot be called: it must be a class or a function that makes a network") from error
