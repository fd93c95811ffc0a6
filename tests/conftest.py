"""Generated data with skewed popularity, and the folder of larger real data if there is one."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from recbole_popdcl.cli import main
from recbole_popdcl.data.atomic import write_interactions

if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the cores, and threads of several would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTEST_ADDOPTS"] = "-n 0"  # of pytest within a test
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="popdcl-tests-")  # the user's own key stays as it is
hypothesis.settings.register_profile("same", derandomize=True, database=None)  # examples of one run to the next
hypothesis.settings.load_profile("same")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has jobs in the background ignore Ctrl-C


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run whole commands come first: a process that begins one of them last would be waited for."""
    items.sort(key=lambda item: item.path.parent.name not in ("tests", "report", "search"))


def skewed_pairs(n_users: int, n_items: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (user, item) pairs from 0 on, item popularity falling like 1/rank."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, n_items + 1) ** 0.8
    users = rng.integers(0, n_users, 3 * n)
    items = rng.choice(n_items, 3 * n, p=weights / weights.sum())
    keys = np.unique(users * n_items + items)
    keys = rng.permutation(keys)[:n]
    return keys // n_items, keys % n_items


class Payload:
    """Makes a folder when it is unpickled, as a stranger's pickle could do anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def the_one_line(arguments: list[str], capsys, logged: bool = False) -> str:
    """Run the command line on bad input; return the one line that it prints on standard error, log lines aside."""
    try:
        status = main(arguments)
    except SystemExit as end:  # argparse's own way
        status = end.code
    assert status == 2
    printed = capsys.readouterr().err.splitlines()
    lines = [text for text in printed if not logged or " INFO " not in text]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory) -> Path:
    """A data_path that holds the dataset ``toy``: 120 users, 80 items, about 3,000 interactions, unsplit."""
    folder = tmp_path_factory.mktemp("dataset")
    users, items = skewed_pairs(120, 80, 3000)
    write_interactions(
        folder / "toy" / "toy.inter",
        users=np.char.add("u", users.astype(str)),
        items=np.char.add("i", items.astype(str)),
    )
    return folder


@pytest.fixture(scope="session")
def toy(toy_folder) -> dict:
    """Properties of a quick run on ``toy``."""
    return {
        "dataset": "toy",
        "data_path": str(toy_folder),
        "k_core": 5,
        "embedding_size": 8,
        "train_batch_size": 256,
        "epochs": 3,
        "eval_step": 1,
    }


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the larger real data, named by POPDCL_DATA."""
    folder = os.environ.get("POPDCL_DATA")
    if not folder:
        pytest.skip("POPDCL_DATA names no folder of real data")
    return Path(folder)
