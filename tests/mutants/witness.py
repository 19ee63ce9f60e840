"""A pytest plugin that says which test failed first, and in whose code.

It writes to the file named by RAFTZMQ_WITNESS: a JSON object with ``copy`` (where raftzmq was
imported from), ``test`` and ``why`` of the first failure. Without ``copy``, or with another one
than the harness made, a run means nothing: it tested some other code.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import raftzmq

_found: dict[str, str] = {"copy": str(Path(raftzmq.__file__).resolve().parents[1])}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the first failure."""
    if report.failed and "test" not in _found:
        _found["test"] = report.nodeid
        crash = getattr(report.longrepr, "reprcrash", None)
        _found["why"] = crash.message if crash is not None else ""


def pytest_sessionfinish() -> None:
    """Leave the testimony."""
    Path(os.environ["RAFTZMQ_WITNESS"]).write_text(json.dumps(_found))
