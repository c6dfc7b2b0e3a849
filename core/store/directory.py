"""The data directory: who owns it, and which generation of the data is in use.

`CURRENT` names one `gen-*/` folder with the database; `engine.lock` is held (flock) by the one
engine that may write; `engine.sock` and `logs/` stand beside it. Folders are 0700, files 0600,
and what somebody else owns or may read is refused.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from pathlib import Path

from core.store.protocol import StoreError

PREVIOUS = "PREVIOUS"
_GENERATION = re.compile(r"gen-(\d+)(?:-[0-9a-f]+)?")
_STAGES = "restore-"


class DirectoryInUseError(StoreError):
    """Another engine owns the data directory."""


class DataDirectory:
    """One data directory on a local disk. Nothing is touched before `prepare`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None

    @property
    def socket(self) -> Path:
        """Where the engine listens."""
        return self.path / "engine.sock"

    @property
    def logs(self) -> Path:
        """Folder of the log and the event lines."""
        return self.path / "logs"

    @property
    def database(self) -> Path:
        """The database of the current generation. Raises StoreError before `prepare`."""
        return self.generation() / "bursar.db"

    def generation(self) -> Path:
        """The folder that CURRENT names."""
        try:
            name = (self.path / "CURRENT").read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.path} holds no Bursar data yet; run `bursar init` or start `bursar`."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{self.path / 'CURRENT'} cannot be read: {error}") from error
        if not name.startswith("gen-") or "/" in name:
            raise StoreError(
                f"{self.path / 'CURRENT'} names {name!r}, which is no generation; "
                "the folder is not Bursar's or was damaged."
            )
        return self.path / name

    def exists(self) -> bool:
        """Whether an engine has ever prepared it."""
        return (self.path / "CURRENT").is_file()

    def prepare(self) -> None:
        """Create what is missing. Raises StoreError naming the folder that cannot be written."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_foreign(self.path)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            if not self.exists():
                (self.path / "gen-0001").mkdir(mode=0o700, exist_ok=True)
                self._point_at("gen-0001")
        except OSError as error:
            raise StoreError(
                f"The data directory {self.path} cannot be written: {error.strerror or error}. "
                "Set data_dir in the configuration or BURSAR_DATA_DIR to one that can."
            ) from error

    def check(self) -> None:
        """See that an existing directory is ours alone and writable. Raises StoreError."""
        self._refuse_foreign(self.path)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StoreError(f"The data directory {self.path} cannot be written; check its mode.")

    def acquire(self) -> None:
        """Become the directory's one engine. Raises DirectoryInUseError."""
        path = self.path / "engine.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DirectoryInUseError(
                f"An engine (process {owner}) already owns {self.path}."
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def is_owned(self) -> bool:
        """Whether some engine (this one included) holds the lock right now."""
        path = self.path / "engine.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    # --- generations ------------------------------------------------------------------------

    def previous(self) -> str:
        """The generation that the one in use took the place of, "" where there is none to go back
        to."""
        try:
            name = (self.generation() / PREVIOUS).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return name if _GENERATION.fullmatch(name) and (self.path / name).is_dir() else ""

    def new_generation(self) -> str:
        """A name that no generation had, here or on another machine: settlements derive their
        keys from it, and must never repeat one."""
        numbers = [
            int(found[1])
            for path in self.path.iterdir()
            if (found := _GENERATION.fullmatch(path.name))
        ]
        return f"gen-{max(numbers, default=0) + 1:04d}-{secrets.token_hex(4)}"

    def adopt(self, staged: Path, name: str) -> None:
        """Put a staged generation, durable already, in the place of the one in use: at every
        instant CURRENT names a whole one. Only for the lock's owner. Raises OSError."""
        staged.rename(self.path / name)
        _sync_folder(self.path)
        self._point_at(name)

    def use(self, name: str) -> None:
        """Point CURRENT at a generation that is there."""
        self._point_at(name)

    def clean(self) -> list[str]:
        """Remove what a restore that did not come to its end has left, and generations that can no
        longer be gone back to. Only for the lock's owner. Answers what was removed."""
        kept = {self.generation().name, self.previous()}
        gone = []
        for path in sorted(self.path.iterdir()):
            is_old = _GENERATION.fullmatch(path.name) and path.name not in kept
            if path.is_dir() and (is_old or path.name.startswith(_STAGES)):
                shutil.rmtree(path, ignore_errors=True)
                gone.append(path.name)
        return gone

    def _refuse_foreign(self, path: Path) -> None:
        status = path.stat()
        if status.st_uid != os.geteuid():
            raise StoreError(
                f"{path} belongs to user {status.st_uid}, not to user {os.geteuid()}; "
                "run Bursar as its owner or choose another data_dir."
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise StoreError(
                f"{path} can be read by other users (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"run `chmod 700 {path}`."
            )

    def _point_at(self, generation: str) -> None:
        """Swap CURRENT atomically: temporary file, fsync, rename, fsync of the folder."""
        temporary = self.path / "CURRENT.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, f"{generation}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(self.path / "CURRENT")
        _sync_folder(self.path)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
