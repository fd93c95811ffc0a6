"""A cluster of one's own, which nobody else can use; a search on two Ray nodes, which survives the loss of one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment import cluster
from recbole_popdcl.experiment.cluster import Cluster
from tests.conftest import free_port
from tests.experiment.conftest import faultless_search, wait_until

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")


def authentication() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}


def test_what_a_local_cluster_is_closed_with_is_new_each_time_and_gone_after_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray by itself would keep a token there
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # the user's word on clusters of theirs
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    before, tokens = dict(os.environ), []
    for _ in range(2):
        with cluster._closed_to_others():
            assert os.environ["RAY_AUTH_MODE"] == "token"
            tokens.append(os.environ["RAY_AUTH_TOKEN"])
            folder = Path(os.environ["RAY_TMPDIR"])
            assert folder.stat().st_mode & 0o777 == 0o700
        assert dict(os.environ) == before
        assert not folder.exists()
    assert len({*tokens, "mine"}) == 3
    assert all(len(token) == 64 for token in tokens)


def test_temporary_folders_have_paths_that_sockets_can_have(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(cluster, "LONGEST_BASE", len(str(tmp_path)))
    near = Path(cluster._temporary_folder())
    assert near.parent == tmp_path
    monkeypatch.setattr(cluster, "LONGEST_BASE", len(str(tmp_path)) - 1)
    elsewhere = Path(cluster._temporary_folder())
    assert elsewhere.parent == Path("/tmp")
    elsewhere.rmdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "x"))
    monkeypatch.setattr(cluster, "LONGEST_BASE", 1000)
    with pytest.raises(PopDCLError, match=r"cannot make Ray's temporary folder in .*x: No such file"):
        cluster._temporary_folder()


def test_a_local_cluster_while_it_lasts(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before, handler = {**os.environ}, signal.getsignal(signal.SIGTERM)
    with Cluster(None, cpus=1, gpus=0):
        seen = ray.get(ray.remote(num_cpus=1)(lambda: dict(os.environ)).remote())
        assert seen["CUDA_VISIBLE_DEVICES"] == ""  # asked for no GPU
        folder = Path(seen["RAY_TMPDIR"])
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if seen["RAY_AUTH_TOKEN"].encode() in path.read_bytes()]
        with (
            pytest.raises(PopDCLError, match=r"this process uses a Ray cluster already; call ray\.shutdown"),
            Cluster(None, cpus=1, gpus=0),
        ):
            pass
        assert ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) is handler
    assert not ray.is_initialized()
    assert not folder.exists()
    assert not (tmp_path / "home").exists()
    assert {name for name in before if os.environ.get(name) != before[name]} == set()
    assert authentication() == {}


def test_a_ray_that_listens_on_the_network_is_not_used(monkeypatch):
    class Found:
        address_info = {"node_ip_address": "192.0.2.2"}  # noqa: RUF012

    monkeypatch.setattr(ray, "init", lambda *_, **__: Found)
    with pytest.raises(PopDCLError, match="does not keep to loopback"), Cluster(None, cpus=1, gpus=0):
        pass


class Node:
    """``ray start`` on a loopback address with one CPU, and everything it starts."""

    def __init__(self, folder, address: str, *options: str) -> None:
        command = [os.path.join(os.path.dirname(sys.executable), "ray"), "start", "--block", "--num-cpus=1"]
        command += [f"--node-ip-address={address}", "--disable-usage-stats", *options]
        self.log = open(folder / f"{len(list(folder.iterdir()))}.log", "w")  # noqa: SIM115
        environment = {**os.environ, "RAY_worker_niceness": "0"}
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=environment, start_new_session=True
        )

    def family(self):
        """All living processes of the node."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def trials(self) -> int:
        """Number of trials that run here."""
        names = []
        for process in self.family():
            try:
                names.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return sum("ImplicitFunc" in name for name in names)

    def told(self) -> str:
        """The end of what it printed."""
        return Path(self.log.name).read_text()[-2000:]

    def kill(self) -> None:
        """End the node without a farewell."""
        family = self.family()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


ASK = """
import sys
import ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()))
"""


def registered(port: int) -> int:
    """Number of nodes that the head on a port of loopback knows of; 0 while there is none.

    A process of its own asks: Ray ends one, without a word, whose head is lost.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return 0
    command = [sys.executable, "-c", ASK, f"127.0.0.1:{port}"]
    with contextlib.suppress(subprocess.SubprocessError):
        return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    return 0


def refused(address: str, **changes: str) -> str:
    """What a process with another environment is told that tries to use the cluster."""
    code = "from recbole_popdcl.experiment.cluster import Cluster\n"
    code += f"with Cluster({address!r}, cpus=1, gpus=0): print('used')"
    environment = {**os.environ, "RAY_NUM_REDIS_GET_RETRIES": "1", **changes}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "used" not in ended.stdout
    return ended.stderr


def test_a_search_on_two_nodes_with_a_token_survives_the_loss_of_one(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    port = free_port()
    for name in ("logs", "plain"):
        (tmp_path / name).mkdir()
    nodes = [Node(tmp_path / "logs", "127.0.0.1", "--head", f"--port={port}", "--include-dashboard=false")]
    try:
        # first: of nodes that start together on one machine, both take the same socket, and one ends
        assert wait_until(lambda: registered(port) == 1, nodes[0].process), nodes[0].told()
        told = refused(f"127.0.0.1:{port}", RAY_AUTH_TOKEN="b" * 64)
        assert "if it asks for a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN give it" in told
        # an address of its own: the driver belongs to the head, whose loss it would not survive
        nodes.append(Node(tmp_path / "logs", "127.0.0.2", f"--address=127.0.0.1:{port}"))
        assert wait_until(lambda: registered(port) == 2, nodes[1].process), nodes[1].told()
        address, folder, log = f"--ray_address=127.0.0.1:{port}", tmp_path / "s", tmp_path / "log"
        # trials that last until the second node has begun one
        with faultless_search(toy, tmp_path / "plain", 60, [0.1, 0.2]) as search:
            with search.started(folder, log, address) as driver:

                def both_train() -> bool:
                    begun = list(folder.glob("trial-*/run/last.pt"))
                    return len(begun) >= 2 and all(node.trials() for node in nodes)

                assert wait_until(both_train, driver), log.read_text()[-2000:]
                nodes.pop().kill()
                assert driver.wait(timeout=240) == 0, log.read_text()[-2000:]
            search.check(folder)
    finally:
        for node in reversed(nodes):
            node.kill()


def test_a_ray_that_cannot_be_closed_to_others_is_one_line(monkeypatch):
    """An old one, or one that has moved its private parts."""
    monkeypatch.delattr("ray._raylet.AuthenticationTokenLoader")
    with (
        pytest.raises(PopDCLError, match=r"^this version of Ray cannot be closed to others"),
        Cluster(None, cpus=1, gpus=0),
    ):
        pass
