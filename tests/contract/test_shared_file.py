"""The contract's suite on 1, 3 and 5 voting files, made and opened as an operator would."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbiters.shared_file import open_arbiter
from arbiters.shared_file.making import make_all, plan
from haagent.arbiter import Arbiter
from haagent.testing.contract import ArbiterContract


class _OnFiles(ArbiterContract):
    count: int

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    async def open(self, node: str) -> Arbiter:
        paths = [str(self.directory / f"{self.domain}.{number}") for number in range(self.count)]
        if not Path(paths[0]).exists():
            make_all(paths, plan(paths, self.domain, ["a", "b", "c", "d"], spare=0, registers=8))
        return await open_arbiter(self.options(node, tuple(paths)))


class TestOneFile(_OnFiles):
    count = 1


class TestThreeFiles(_OnFiles):
    count = 3


class TestFiveFiles(_OnFiles):
    count = 5
