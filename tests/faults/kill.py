"""Kill a small run again and again at random moments, go on with it, and compare with one that nobody killed.

    python -m tests.faults.kill [--kills 200] [--models PopDCL,LightGCN,BCLoss] [--signals KILL,TERM,INT] [--seed 0]

Every kill hits another moment of loading, training, validation, checkpoint writing or the final evaluation: half of
them at a random time of the run, half while a file is being written. After each one every file of the run folder must
be whole or absent; at the end weights, optimiser, random states, early stopping, metrics and results must equal those
of the undisturbed run bit for bit. The preparation is killed likewise: the dataset must be the whole one or none.

Prints a Markdown table; ends with status 1 at the first fault.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # which the optimiser imports when it is first used

import dataset_prep.prepare  # noqa: F401 - this and the next are imported once here, not in every child
import recbole_popdcl.experiment.run  # noqa: F401
from recbole_popdcl.cli import main as command_line
from recbole_popdcl.data.atomic import write_interactions
from recbole_popdcl.training.checkpoint import load_checkpoint

OPTIONS = ["--embedding_size=16", "--train_batch_size=512", "--epochs=4", "--eval_step=2", "--k_core=0"]
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
OWN = {"BCLoss": ["--warm_up_epochs=1"]}  # before which nothing is validated
SECONDS = 120  # after which a process is taken to hang


class BrokenError(Exception):
    """A run that a kill has broken."""


def start(arguments: Sequence[str], log: Path) -> int:
    """Run a command in a child of this process, which has imported everything already; return its number."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STATUS)  # none reaches the child where this one's work is unwound
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child
    status = 70
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until the command line takes it, and after its end
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with open(log, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            status = command_line(list(arguments))
    except KeyboardInterrupt:  # before the command line took it, or after its end
        status = 130 if status == 70 else status
    finally:
        os._exit(status)


def ended(child: int, since: float) -> int | None:
    """Return the exit status of a child, negative for the signal that ended it; None while it runs.

    Raises:
        BrokenError: it hangs.
    """
    number, status = os.waitpid(child, os.WNOHANG)
    if number:
        return os.waitstatus_to_exitcode(status)
    if time.monotonic() - since > SECONDS:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise BrokenError(f"a process was still there after {SECONDS} s")
    return None


def wait(child: int) -> int:
    """Wait for a child and return its exit status."""
    since = time.monotonic()
    while (status := ended(child, since)) is None:
        time.sleep(0.002)
    return status


def strike(child: int, number: int, moment: Callable[[], bool]) -> int:
    """Send a signal when ``moment`` says so; return the exit status."""
    since = time.monotonic()
    while (status := ended(child, since)) is None:
        if moment():
            os.kill(child, number)
            return wait(child)
        time.sleep(0.0002)
    return status


def at_random(chance: random.Random, seconds: float) -> Callable[[], bool]:
    """A moment between now and ``seconds`` from now."""
    due = time.monotonic() + chance.uniform(0, seconds)
    return lambda: time.monotonic() >= due


def while_writing(chance: random.Random, folder: Path, pattern: str) -> Callable[[], bool]:
    """A moment at which one of the first files is half-written."""
    skipped, seen = chance.randrange(8), set()

    def now() -> bool:
        seen.update(path.name for path in folder.glob(pattern))
        return len(seen) > skipped

    return now


# -- training ---------------------------------------------------------------------------------------------------------


def check_whole(folder: Path) -> None:
    """Check that every file of a run folder is whole or absent.

    Raises:
        BrokenError: one is torn.
    """
    for name in ("checkpoint.pt", "last.pt"):
        if (folder / name).exists():
            load_checkpoint(folder / name)
    if (folder / "result.json").exists():
        json.loads((folder / "result.json").read_text())
    if (folder / "metrics.jsonl").exists():
        *lines, last = (folder / "metrics.jsonl").read_text().split("\n")
        for line in lines:
            json.loads(line)
        if last:
            raise BrokenError(f"a line of the metrics is torn: {last!r}")


def final_state(folder: Path) -> dict[str, str]:
    """Return a digest of everything that a run leaves, times aside."""
    parts = {
        f"{name}[{key}]": part
        for name in ("checkpoint.pt", "last.pt")
        for key, part in load_checkpoint(folder / name).items()
        if key != "seconds"
    }
    result = json.loads((folder / "result.json").read_text())
    for name in ("seconds", "resumed"):
        del result[name]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    parts["metrics.jsonl"] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    parts["result.json"] = result
    state = {name: digest(part) for name, part in parts.items()}
    return state | {"per_user.parquet": hashlib.sha256((folder / "per_user.parquet").read_bytes()).hexdigest()}


def digest(value) -> str:
    """Return a checksum over the bits of nested values."""
    sha = hashlib.sha256()

    def add(part) -> None:
        if isinstance(part, dict):
            for key, inner in sorted(part.items(), key=lambda pair: str(pair[0])):
                add(str(key))
                add(inner)
        elif isinstance(part, (list, tuple)):
            for inner in part:
                add(inner)
        elif isinstance(part, torch.Tensor):
            sha.update(part.numpy().tobytes())
        else:
            sha.update(f"{type(part).__name__}:{part!r};".encode())

    add(value)
    return sha.hexdigest()


def kill_training(
    model: str,
    number: int,
    *,
    kills: int,
    data: Path,
    work: Path,
    chance: random.Random,
    tell: Callable[[str], None],
) -> Counter:
    """Kill runs of a model ``kills`` times; return how often at which moment.

    Raises:
        BrokenError: a torn file, another exit status than the signal's, or a result that differs.
    """
    arguments = [f"--model={model}", "--dataset=small", f"--data_path={data}", *OPTIONS, *OWN.get(model, [])]
    whole = work / f"{model}-{number}-whole"
    started = time.monotonic()
    if wait(start(["run", *arguments, f"--run_dir={whole}"], work / "whole.log")):
        raise BrokenError(f"the undisturbed run failed: {(work / 'whole.log').read_text()[-500:]}")
    seconds, expected = time.monotonic() - started, final_state(whole)
    done: Counter = Counter()
    runs = 0
    while done.total() < kills:
        folder, runs = work / f"{model}-{number}-{runs}", runs + 1
        finished = False
        while not finished:
            resume = (folder / "config.yaml").exists()
            command = ["run", "--resume"] if resume else ["run", *arguments]
            child = start([*command, f"--run_dir={folder}"], work / "log")
            if done.total() >= kills:
                status = wait(child)
            elif chance.random() < 0.5:
                status = strike(child, number, at_random(chance, seconds))
            else:
                status = strike(child, number, while_writing(chance, folder, ".*.tmp"))
            finished = status == 0
            if not finished:
                done[moment_of(folder)] += 1
                check_ending(status, number, folder, work / "log")
                check_whole(folder)
        differing = [name for name, value in final_state(folder).items() if value != expected[name]]
        if differing:
            raise BrokenError(f"{model}: {', '.join(differing)} of {folder} differ from the undisturbed run")
        tell(f"{model}: {done.total()} kills, {runs} runs ended as the undisturbed one")
    return done


def moment_of(folder: Path) -> str:
    """Say how far a killed run had come."""
    if (folder / "per_user.parquet").exists():
        return "writing the result"
    if any(folder.glob(".*.tmp")):
        return "writing a checkpoint"
    if (folder / "last.pt").exists():
        return "training and evaluation after the first validation"
    return "first epochs" if (folder / "config.yaml").exists() else "loading"


def check_ending(status: int, number: int, folder: Path, log: Path) -> None:
    """Check that SIGTERM and Ctrl-C end with their status and a line that says how to go on, and all others at once.

    Raises:
        BrokenError: something else came.
    """
    wanted = STATUS.get(number, -number)
    last = (log.read_text().splitlines() or [""])[-1]
    if not last and status in (wanted, -number):  # the command line had not begun
        return
    if status != wanted:
        raise BrokenError(f"exit status {status} after signal {number}, not {wanted}: {last}")
    if number in STATUS:
        told = f"go on with: recbole-popdcl run --resume --run_dir={folder}"
        needs_telling = (folder / "last.pt").exists() and not (folder / "result.json").exists()
        if not last.startswith("recbole-popdcl: interrupted") or (needs_telling and told not in last):
            raise BrokenError(f"after signal {number} the last line was: {last}")


# -- preparation ------------------------------------------------------------------------------------------------------


def kill_preparation(kills: int, work: Path, chance: random.Random, tell: Callable[[str], None]) -> Counter:
    """Kill preparations ``kills`` times; return how often at which moment.

    Raises:
        BrokenError: a dataset that is neither whole nor absent, or that differs.
    """
    raw = work / "raw.csv"
    pairs = skewed(2000, 1500, 20_000)
    raw.write_text("user,item\n" + "\n".join(f"u{u},i{i}" for u, i in zip(*pairs)) + "\n")
    arguments = ["prepare", "--input", str(raw), "--name", "raw", "--k_core", "3", "--output"]
    started = time.monotonic()
    if wait(start([*arguments, str(work / "prepared")], work / "log")):
        raise BrokenError(f"the undisturbed preparation failed: {(work / 'log').read_text()[-500:]}")
    seconds, expected = time.monotonic() - started, files_of(work / "prepared")
    done: Counter = Counter()
    while done.total() < kills:
        output = work / f"prepared-{done.total()}"
        overwrite = chance.random() < 0.5  # half of them over a dataset that is there
        if overwrite:
            wait(start([*arguments, str(output)], work / "log"))
        again = ["--overwrite"] if overwrite else []
        child = start([*arguments, str(output), *again], work / "log")
        moment = at_random(chance, seconds) if chance.random() < 0.5 else while_writing(chance, output, ".*.tmp/*")
        if strike(child, signal.SIGKILL, moment) != -signal.SIGKILL:
            continue
        there = files_of(output)
        done["over a dataset" if overwrite else "before a file is in place" if not there else "all in place"] += 1
        train = "raw.train.inter"
        if train in there and any(
            there.get(name) != value for name, value in expected.items() if "manifest" not in name
        ):
            raise BrokenError(f"{output} holds a part of a dataset: {sorted(there)}")
        if wait(start([*arguments, str(output), "--overwrite"], work / "log")):
            raise BrokenError(f"preparing again failed: {(work / 'log').read_text()[-500:]}")
        if files_of(output) != expected or any(output.glob(".*.tmp")):
            raise BrokenError(
                f"preparing again into {output} gave other files: {sorted(path.name for path in output.iterdir())}"
            )
        tell(f"preparation: {done.total()} kills")
    return done


def files_of(folder: Path) -> dict[str, str]:
    """Return {name: checksum} of the visible files of a folder."""
    paths = folder.glob("[!.]*") if folder.is_dir() else []
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


# -- the whole --------------------------------------------------------------------------------------------------------


def skewed(n_users: int, n_items: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs with a popularity that falls like 1/rank."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, n_items + 1)
    keys = np.unique(rng.integers(0, n_users, n) * n_items + rng.choice(n_items, n, p=weights / weights.sum()))
    return keys // n_items, keys % n_items


def kill_all(
    models: Sequence[str], signals: Sequence[str], *, kills: int, seed: int, work: Path, tell: Callable[[str], None]
) -> list[tuple[str, str, Counter]]:
    """Kill runs of every model by every signal, and the preparation; return (what, signal, {moment: kills}).

    Args:
        models: names of models.
        signals: names of signals, without SIG.
        kills: in all; an equal part for each model and signal, and one for the preparation.
        seed: of the moments.
        work: folder for the runs.
        tell: called with a line of progress.

    Raises:
        BrokenError: a kill has broken something.
    """
    chance = random.Random(seed)
    users, items = skewed(400, 300, 6_000)
    data = work / "data"
    write_interactions(data / "small" / "small.inter", users=users.astype(str), items=items.astype(str))
    part = -(-kills // (len(models) * len(signals) + 1))
    table = []
    for model in models:
        for name in signals:
            number = getattr(signal, f"SIG{name}")
            done = kill_training(model, number, kills=part, data=data, work=work, chance=chance, tell=tell)
            table.append((model, name, done))
    return [*table, ("preparation", "KILL", kill_preparation(part, work, chance, tell))]


def markdown(table: Sequence[tuple[str, str, Counter]]) -> str:
    """Return the kills as a Markdown table."""
    lines = ["| what | signal | kills | moments |", "|---|---|---|---|"]
    for what, name, done in table:
        moments = ", ".join(f"{moment} {count}" for moment, count in done.most_common())
        lines.append(f"| {what} | {name} | {done.total()} | {moments} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, kill, and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--models", default="PopDCL,LightGCN,BCLoss")
    parser.add_argument("--signals", default="KILL,TERM,INT")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)  # children of fork cannot use the threads of their parent
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has jobs in the background ignore Ctrl-C
    with tempfile.TemporaryDirectory() as work:
        try:
            table = kill_all(
                arguments.models.split(","),
                arguments.signals.split(","),
                kills=arguments.kills,
                seed=arguments.seed,
                work=Path(work),
                tell=lambda line: print(line, file=sys.stderr, flush=True),
            )
        except BrokenError as fault:
            print(f"fault: {fault}", file=sys.stderr)
            return 1
    print(markdown(table))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, io.UnsupportedOperation):
        sys.exit(main())
