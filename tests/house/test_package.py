"""The distribution: built, installed into an empty environment, run from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), str(ROOT)],
        check=True,
        timeout=280,
    )
    return next(out.glob("bursar-*.whl"))


def test_the_wheel_carries_core_tui_and_styles_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "core",
        "tui",
        "styles",
    }
    shipped = {Path(n).name for n in names if n.endswith(".tcss")}
    assert shipped == {path.name for path in (ROOT / "styles").glob("*.tcss")}
    assert "core/chains/evm/scanner.asm" in names


def test_it_runs_from_an_empty_environment_and_another_directory(
    wheel: Path, tmp_path: Path
) -> None:
    # The dependencies are this interpreter's own (installing them again proves nothing about
    # Bursar and takes a minute); Bursar itself comes from the wheel alone.
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    target = home / "bursar"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target),
         str(wheel)],
        check=True,
        timeout=120,
    )  # fmt: skip
    dependencies = next(p for p in sys.path if p.endswith("site-packages"))
    code = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p];"
        f"sys.path[:0] = [{str(target)!r}]; sys.path.append({dependencies!r});"
        "import tui, core; assert tui.__file__.startswith(%r), tui.__file__;" % str(target)
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm-256color"}
    shown = subprocess.run(
        [python, "-S", "-c", code + "from tui.cli import app; sys.argv=['bursar','--help']; app()"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "treasury desk" in shown.stdout
    styles = subprocess.run(
        [python, "-S", "-c", code + "from tui.app import BursarApp; "
         "from pathlib import Path; given = BursarApp.CSS_PATH; "
         "paths = [Path(p) for p in (given if isinstance(given, list) else [given])]; "
         "print([p.name for p in paths if not p.is_file()], len(paths))"],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )  # fmt: skip
    assert styles.stdout.startswith("[] ")
