"""What every section of one experiment file is read with: where its names are looked for, and whether its code may run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.user_code import Located, Own, load_if


@dataclass(frozen=True)
class Reading:
    """One file's reading.

    Attributes:
        folder: where its relative paths start. device: it will run on. chain: the files that led to it, itself the last, so that a
            circle is noticed. data_dir: where data of one's own are looked for.
        trusted: the file is the user's own word, and code that it names is run; otherwise such code is only located.
    """

    folder: Path
    device: str = "auto"
    chain: tuple[Path, ...] = ()
    data_dir: Path | None = None
    trusted: bool = False

    def code(self, reference: str, table: Mapping[str, Any], kind: type | None) -> Own | Located:
        """Code of one's own that a table names: run where it may, else only found. ``kind``: of object that it must be."""
        return load_if(self.trusted, reference, self.folder, file=table.get("file"), code=table.get("code"), kind=kind)
