"""The workload's process, seen from the run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from raftzmq.chaos import build
from raftzmq.chaos.trouble import ChaosError
from raftzmq.chaos.workload import Orders

_END_S: Final = 90.0


class Load:
    """Start it in the folder that takes the histories; ``counts`` is what it said last.

    It is of the same build as this process, and lives in the same network.
    """

    def __init__(self, folder: Path, orders: Orders) -> None:
        with (folder / "workload.log").open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "raftzmq.chaos.workload"),
                cwd=folder,
                env=build.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._folder = folder
        self.counts: dict[str, Any] = {}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def check(self) -> None:
        """Raises:
        ChaosError: it has ended.
        """
        if self._process.poll() is not None:
            raise ChaosError(f"the workload ended by itself: {self._last_line()}")

    def finish(self) -> None:
        """Let each client end its operation, and end.

        Raises:
            ChaosError: it did not end well, so that histories are not complete.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise ChaosError("the workload does not end") from None
        if code:
            raise ChaosError(f"the workload ended with code {code}: {self._last_line()}")
        self._reader.join()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self.counts = json.loads(line)

    def _last_line(self) -> str:
        lines = (self._folder / "workload.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"
