"""The example in docs/example-plugin is a package of its own: installed as anybody would, listed, checked, tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the example, without the network, and return where it is."""
    source = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    target = tmp_path_factory.mktemp("target")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q")
    command = (sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = (sys.executable, "-m", *arguments)
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_is_listed(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "haagent", "arbiter", "list", cwd=tmp_path)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["sqlite", "haagent_sqlite:open_arbiter", "haagent-sqlite", "1.0"] in rows


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    for name in ("tests", "pyproject.toml"):
        source = EXAMPLE / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    done = run(installed, "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_it_passes_the_check_of_an_operator_and_is_clean_afterwards(installed: Path, tmp_path: Path) -> None:
    url = f"sqlite:///web?path={tmp_path}/registers.db"
    done = run(installed, "haagent", "arbiter", "check", url, "--seconds", "6", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left behind" not in done.stdout


def test_its_test_file_has_as_few_lines_as_the_guide_says() -> None:
    lines = (EXAMPLE / "tests" / "test_contract.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 7  # six, and one that says it gives no hints
