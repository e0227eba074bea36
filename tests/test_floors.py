"""The architecture as a test: a module imports only from lower floors, and rooms on one floor do not know each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_guards_circles import DOORS, running

SRC = Path(__file__).resolve().parents[1] / "src" / "redistill"

FLOORS: tuple[tuple[str, ...], ...] = (
    # the ground: errors and places on disk, one seed and many streams, numbers of statistics
    ("errors", "_moved"),
    ("paths", "stats", "rng", "allocator", "memory_order", "package_code", "quiet"),
    ("values", "files", "tensor_files", "user_code"),
    ("machine", "recipe", "claims", "settings", "sealed", "identity"),
    # what flows, what is minimised, where inputs come from
    ("core",),
    ("precision",),
    # formulas, images; features by place; networks; what a network says on a set of images, what it said
    ("terms", "data"),
    ("features",),
    ("models",),
    ("metrics", "belief", "answers", "replay", "versions"),
    # inputs; the loop; recipes as printed
    ("sources",),
    ("train",),
    ("published",),
    # asked, ran
    ("experiment",),
    ("runs",),
    ("launch",),
    # a network for elsewhere
    ("export",),
    # judged, shown
    ("papers",),
    ("verdicts",),
    ("testing",),
    ("report",),
    ("evidence",),
    ("distill",),
    ("toy", "verify", "bench"),
    ("cli",),
    # the public names, loaded lazily
    ("__init__", "__main__"),
)
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def rooms(source: Path = SRC) -> list[Path]:
    """Every module of the package."""
    return sorted(source.rglob("*.py"))


def room_of(module: Path, source: Path = SRC) -> str:
    """``terms`` for ``terms/at.py``, ``core`` for ``core.py``."""
    return module.relative_to(source).with_suffix("").parts[0]


def imports(text: str, own: tuple[str, ...]) -> Iterator[str]:
    """Rooms of the package that a module imports, anywhere in it; ``own``: its package, for relative imports."""
    for node in running(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names] if stem == "redistill" else [stem]
        for name in names:
            parts = name.split(".")
            # the version is a text beside the lazy names: reading it loads nothing
            if parts[0] == "redistill" and name != "redistill.__version__":
                yield parts[1] if len(parts) > 1 and parts[1] in HEIGHT else "__init__"


def breaches(source: Path = SRC) -> list[str]:
    """One sentence for each import that the floors forbid."""
    found = []
    for module in rooms(source):
        room = room_of(module, source)
        if room not in HEIGHT:
            found.append(f"{room} stands on no floor: put it into FLOORS")
            continue
        package = ("redistill", *module.relative_to(source).parts[:-1])
        for other in imports(module.read_text(encoding="utf-8"), package):
            here = module.relative_to(source).as_posix()
            if any(here == a and b.partition('/')[0] == other for a, b in DOORS):
                continue  # a named door
            if other != room and HEIGHT[other] >= HEIGHT[room]:
                where = "its own floor" if HEIGHT[other] == HEIGHT[room] else "a higher floor"
                found.append(f"{module.relative_to(source)} imports {other} from {where}")
    return found


def test_no_room_is_above_a_tenth_and_what_is_asked_stays_small() -> None:
    lines: dict[str, int] = {}
    for module in rooms():
        lines[room_of(module)] = lines.get(room_of(module), 0) + len(module.read_text(encoding="utf-8").splitlines())
    whole = sum(lines.values())
    assert {room: count for room, count in lines.items() if 10 * count > whole} == {}
    assert lines["experiment"] < 1_600


def test_every_module_imports_from_lower_floors_only() -> None:
    assert breaches() == []
    assert {"core", "terms", "features", "verify", "testing"} <= {room_of(m) for m in rooms()}


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("core/batch.py", "from redistill.terms import KD", "core/batch.py imports terms from a higher floor"),
        ("terms/at.py", "import redistill.features.tapped", "terms/at.py imports features from a higher floor"),
        ("terms/at.py", "def f():\n    from redistill import data", "terms/at.py imports data from its own floor"),
        ("data/images.py", "from .. import terms", "data/images.py imports terms from its own floor"),
        ("terms/at.py", "from ..train.loop import fit", "terms/at.py imports train from a higher floor"),
        ("train/loop.py", "import redistill", "train/loop.py imports __init__ from a higher floor"),
        ("rng.py", "from redistill.stats import mean", "rng.py imports stats from its own floor"),
        ("helpers.py", "", "helpers stands on no floor: put it into FLOORS"),
        ("terms/at.py", "from redistill.terms.parts.maps import as_map\nfrom . import kd\nfrom redistill.core import Term", None),
        ("cli/run.py", "from redistill import report\nimport redistill.verify", None),
        ("launch/jobs.py", "from redistill import __version__", None),
        ("rng.py", "if TYPE_CHECKING:\n    from redistill.train.loop import Loop", None),
    ],
)
def test_a_breach_is_found(tmp_path: Path, file: str, text: str, sentence: str | None) -> None:
    module = tmp_path / file
    module.parent.mkdir(exist_ok=True)
    module.write_text(text, encoding="utf-8")
    assert breaches(tmp_path) == ([] if sentence is None else [sentence])
