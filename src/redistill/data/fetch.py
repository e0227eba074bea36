"""Official files: where they are looked for, how they are checked, and how they are downloaded when asked to."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from redistill.core import RedistillError
from redistill.errors import cut
from redistill.files import make_folder
from redistill.paths import expanded, home


@dataclass(frozen=True)
class File:
    """One official file: its name, its MD5 (None: the archive's has to do), and its addresses (none: it is in an archive)."""

    name: str
    md5: str | None
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a data set's files lie: ``folder`` below the data folder (or the data folder itself), or in an ``archive``.

    Attributes:
        folder: name of the folder; for an archive, the folder that it unpacks to.
        archive: the archive, or None where the files are downloaded one by one.
        also: other folders in which the same files are found, as other libraries lay them out.
    """

    folder: str
    archive: File | None = None
    also: tuple[str, ...] = ()


def default_dir() -> Path:
    """$REDISTILL_DATA, else ~/.cache/redistill.

    Raises:
        RedistillError: neither is known (a container without HOME under a user id that has no entry).
    """
    given = os.environ.get("REDISTILL_DATA")
    if given:
        return expanded(given)
    if (own := home()) is None:
        raise RedistillError(
            "there is no folder for data: HOME is not set and this user has none; say where they lie with --data-dir FOLDER "
            "(data_dir=) or REDISTILL_DATA"
        )
    return own / ".cache" / "redistill"


def obtain(place: Place, files: tuple[File, ...], data_dir: str | Path | None, download: bool) -> list[Path]:
    """Paths of ``files``, each checked; unpacked or downloaded first where that is needed (and ``download`` allows it)."""
    base = default_dir() if data_dir is None else expanded(data_dir)
    for folder in (base / place.folder, *(base / other for other in place.also), base):
        paths = [folder / file.name for file in files]
        if all(path.exists() for path in paths):
            _check_all(paths, files)
            return paths
    folder = base / place.folder
    if place.archive is not None:
        archive = base / place.archive.name
        if not archive.exists():
            if not download:
                raise _missing(place, files, base)
            retrieve(place.archive, base)
        check(archive, place.archive)
        unpack(archive, base, place.folder)
    elif download:
        for file in files:
            if not (folder / file.name).exists():
                retrieve(file, folder)
    else:
        raise _missing(place, files, base)
    paths = [folder / file.name for file in files]
    absent = [path for path in paths if not path.exists()]
    if absent:
        raise RedistillError(f"the archive of {place.folder} does not hold {absent[0].name}: delete it and download it again")
    _check_all(paths, files)
    return paths


def _missing(place: Place, files: tuple[File, ...], base: Path) -> RedistillError:
    names = ", ".join(file.name for file in files)
    folder = base / place.folder
    if place.archive is not None:
        by_hand = f"put them there, or their archive {place.archive.name} (from {place.archive.urls[0]}) into {base}"
    else:
        by_hand = f"put them there (from {files[0].urls[0].rpartition('/')[0]}/)"
    return RedistillError(f"{names} not found in {folder}: {by_hand}, or fetch them with download=True (redistill download)")


# -- checking ---------------------------------------------------------------------------------------------------------
def check(path: Path, file: File) -> None:
    """Compare with the official checksum; a sentence names the file, both sums and the way out."""
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if file.md5 is not None and found != file.md5:
        where = f"download=True (redistill download), or {file.urls[0]}" if file.urls else "its archive"
        raise RedistillError(
            f"{path} is not the official file but truncated or altered: expected MD5 {file.md5}, found {found} "
            f"({path.stat().st_size:,} bytes); delete it and get it again from {where}"
        )


def _check_all(paths: list[Path], files: tuple[File, ...]) -> None:
    with ThreadPoolExecutor(min(4, len(files))) as pool:  # hashing leaves the interpreter lock
        for done in [pool.submit(check, path, file) for path, file in zip(paths, files, strict=True) if file.md5 is not None]:
            done.result()


# -- downloading ------------------------------------------------------------------------------------------------------
def retrieve(file: File, folder: Path) -> Path:
    """Download one file, trying its addresses in order; what does not have the official checksum is not kept."""
    import pooch
    import requests

    make_folder(folder)  # said at once, and not once an address
    failures = []
    for url in file.urls:
        try:
            with _Progress(file.name) as progress:
                downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
                pooch.retrieve(url, f"md5:{file.md5}", file.name, folder, downloader=downloader)
            return folder / file.name
        except (requests.RequestException, OSError, ValueError) as error:
            failures.append(f"{url} ({type(error).__name__}: {_innermost(error)})")
    raise RedistillError(
        f"{file.name} could not be downloaded: tried {'; '.join(failures)}; get it by other means and put it into {folder}"
    )


def _innermost(error: BaseException) -> str:
    """What went wrong below the layers of a library that connects: "Connection refused" and not all of its wrappings."""
    for inner in (error.__cause__, error.__context__):
        if inner is not None:
            return _innermost(inner)
    return error.strerror if isinstance(error, OSError) and error.strerror else cut(str(error), 200)


class _Progress:
    """What pooch asks of a progress bar, on top of rich's."""

    def __init__(self, name: str):
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=Console(stderr=True))
        self.task = self.bar.add_task(name, total=None)

    def __enter__(self) -> _Progress:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    @property
    def total(self) -> float | None:
        return self.bar.tasks[0].total

    @total.setter
    def total(self, count: int) -> None:
        self.bar.update(self.task, total=count)

    def update(self, count: int) -> None:
        self.bar.advance(self.task, count)

    def reset(self) -> None:
        self.bar.update(self.task, completed=0)

    def close(self) -> None:
        """pooch says that it is done; the bar ends with the block around it."""


# -- unpacking --------------------------------------------------------------------------------------------------------
def unpack(archive: Path, base: Path, folder: str) -> None:
    """Write the files below ``folder`` of a tar or zip archive to ``base/folder``.

    An archive with a member that is neither a file nor a folder, or whose path leaves the folder, is refused. The folder
    appears under its name only when all of it is there; where it is there already, what it holds is replaced file by file, each in
    one step, because another process may be reading them.
    """
    with tempfile.TemporaryDirectory(prefix=f".{folder}-", dir=base) as scratch:
        try:
            for name, content in _members(archive):
                path = Path(scratch) / _inside(archive, name, folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(content, out)
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            reason = str(error).partition(":\n")[0]  # tarfile lists every format it tried
            raise RedistillError(f"{archive} cannot be unpacked ({reason}): delete it and download it again") from error
        if not (Path(scratch) / folder).exists():
            raise RedistillError(f"{archive} holds no folder {folder}: delete it and download it again")
        try:
            (Path(scratch) / folder).rename(base / folder)
        except OSError:  # some of its files were missing, or another process has just unpacked it
            shutil.copytree(Path(scratch) / folder, base / folder, copy_function=os.replace, dirs_exist_ok=True)


def _inside(archive: Path, name: str, folder: str) -> PurePosixPath:
    """The path of a member, which must lie in the folder on every system (no drive letters, no backslashes)."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or path.parts[:1] != (folder,):
        raise RedistillError(f"{archive} holds the path {name!r}, which is not inside {folder}: refused, nothing was unpacked")
    return path


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file in an archive."""
    strange = "{} holds {!r}, which is neither a file nor a folder: refused, nothing was unpacked"
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise RedistillError(strange.format(archive, entry.filename))
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield entry.filename, content
        return
    with tarfile.open(archive) as tape:
        for member in tape:
            if not member.isdir():
                file = tape.extractfile(member) if member.isreg() else None
                if file is None:
                    raise RedistillError(strange.format(archive, member.name))
                with file:
                    yield member.name, file
