"""The folder that a run or a search owns: where it is, what is in it, and that one process at a time writes into it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import class_path, is_packaged, typed_model
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError, reason, shown
from recbole_popdcl.storage import layout
from recbole_popdcl.storage.lock import LOCK, locked

LISTS = "lists"  # in config.yaml of a folder of judged lists: their file, which a trained run does not have


def check_label(label: str, *, of: str) -> None:
    """Check a name for a row of tables, which names the folder of its runs too.

    Args:
        label: the name.
        of: what it names, for the message.

    Raises:
        PopDCLError: it may hold a path.
    """
    if re.search(r"[/\\\x00-\x1f\x7f]", label) or label in ("", ".", ".."):
        raise PopDCLError(f"{of} {label!r} may not hold a path; it names a folder")


class OwnedFolder:
    """What the folders of runs and of searches have in common.

    A folder is free, begun or finished. One that is begun holds what ``--resume`` goes on with; while it is held, a
    begun folder without its first file has been deleted.

    Args:
        path: of the folder, which need not exist.

    Attributes:
        path: of the folder.
        result: result.json, which has the same form for runs and for searches.
    """

    KIND: ClassVar[str]  # in messages
    FIRST: ClassVar[str]  # name of the file that is written when the run or the search begins
    PREFIX: ClassVar[str]  # of the folder's name, unless the user chooses it

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.result = self.path / layout.RESULT

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def choose(cls, run_dir: str | Path | None, *, config: Config | Mapping[str, Any]) -> Self:
        """Return the folder ``run_dir``, by default ``runs/<dataset>/<model>/<timestamp>``."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        return cls(run_dir or Path("runs") / config["dataset"] / config["model"] / f"{cls.PREFIX}{stamp}")

    @classmethod
    def to_resume(cls, run_dir: str | Path | None) -> Self:
        """Return the folder ``run_dir``, to go on with what is in it.

        Raises:
            PopDCLError: there is nothing to go on with.
        """
        if run_dir is None or not cls(run_dir).begun:
            raise PopDCLError(f"nothing to resume: no {cls.FIRST} in {run_dir or 'a folder named by --run_dir'}")
        return cls(run_dir)

    @property
    def begun(self) -> bool:
        """Whether a run, or a search, has begun here; it may be finished."""
        return (self.path / self.FIRST).is_file()

    @property
    def worth_keeping(self) -> bool:
        """Whether something has been done that ``--resume`` need not do again."""
        raise NotImplementedError

    def check_free(self) -> None:
        """Check that a new run, or a new search, can be put here.

        Raises:
            PopDCLError: there is something in the folder.
        """
        raise NotImplementedError

    def check_there(self) -> None:
        """Check that nobody has deleted the folder since the run, or the search, began.

        Raises:
            PopDCLError: it is gone.
        """
        raise NotImplementedError

    @contextlib.contextmanager
    def held(self, *, resume: bool) -> Iterator[None]:
        """Make the folder, and hold it while the block runs, so that no second process writes into it.

        A folder that was not there before is removed again if the block fails, in whatever way, before anything is
        worth keeping, and one that was empty is emptied, so that the same command can be given again.

        Args:
            resume: go on with what is in the folder; otherwise it must be free.

        Raises:
            PopDCLError: the folder cannot be made, another process holds it, or it is not free.
        """
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        was_empty = self.path.is_dir() and all(path.name == LOCK for path in self.path.iterdir())
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PopDCLError(f"cannot make the {self.KIND} folder {self}: {reason(error)}") from error
        with locked(self.path):
            if not resume:
                self.check_free()  # again, as another process may have been quicker
            try:
                yield
            except BaseException:
                if not self.worth_keeping:
                    if made:
                        _remove(made)
                    elif was_empty:
                        _empty(self.path)
                raise


def _remove(made: Sequence[Path]) -> None:
    """Remove a folder and those above it that were made with it; the folder comes first."""
    shutil.rmtree(made[0], ignore_errors=True)
    with contextlib.suppress(OSError):  # something else is in them by now
        for path in made[1:]:
            path.rmdir()


def _empty(folder: Path) -> None:
    """Remove what is in a folder, but for its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)


class RunFolder(OwnedFolder):
    """The folder of a run.

    Attributes:
        config: resolved properties.
        metrics: a line an epoch.
        checkpoint: weights of the best epoch.
        last: what a resumed run goes on from.
        per_user: accuracy of every user.
        log: log lines.
    """

    KIND, FIRST, PREFIX = "run", layout.CONFIG, ""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.config = self.path / layout.CONFIG
        self.metrics = self.path / layout.METRICS
        self.checkpoint = self.path / layout.CHECKPOINT
        self.last = self.path / layout.LAST
        self.per_user = self.path / layout.PER_USER
        self.log = self.path / layout.LOG

    @property
    def taken_by(self) -> str | None:
        """Name of a file of a run in this folder; None where it is free."""
        return next((path.name for path in (self.config, self.metrics, self.result, self.last) if path.exists()), None)

    @property
    def finished(self) -> bool:
        """Whether the run has its result."""
        return self.result.exists()

    @property
    def worth_keeping(self) -> bool:
        """Whether an epoch is done."""
        return self.metrics.exists()

    @property
    def n_epochs(self) -> int:
        """Number of epochs in the metrics."""
        with open(self.metrics, encoding="utf-8") as lines:
            return sum(1 for _ in lines)

    def check_free(self) -> None:
        """Check that there is no run in the folder.

        Raises:
            PopDCLError: there is.
        """
        if self.taken_by:
            raise PopDCLError(f"{self} already holds a run ({self.taken_by}); choose another --run_dir or add --resume")

    @property
    def judged(self) -> bool:
        """Whether it holds results of lists that another system has made.

        Raises:
            PopDCLError: its configuration cannot be read.
        """
        return self.begun and LISTS in read_yaml(self.config)

    def check_trained(self) -> None:
        """Check that the run has a model.

        Raises:
            PopDCLError: it has judged lists.
        """
        if self.judged:
            raise PopDCLError(f"{self} holds judged lists, which no model stands behind; compare and report take them")

    def check_there(self) -> None:
        """Check that the folder has not been deleted since the training began.

        Raises:
            PopDCLError: it has.
        """
        if not self.config.exists():
            raise PopDCLError(f"the run folder {self} is gone; its results cannot be written")

    def analysis(self, name: str) -> Path:
        """Return the path of one of layout.ANALYSES."""
        return self.path / name

    def remove_analyses(self) -> None:
        """Remove what was made from earlier weights."""
        for name in layout.ANALYSES:
            self.analysis(name).unlink(missing_ok=True)


def stored_config(
    folder: RunFolder,
    model: str | type | None = None,
    *,
    arguments: Sequence[str] = (),
    fixed: Callable[[str], bool] | None = None,
) -> Config:
    """Return the configuration that a run has written into its folder.

    Args:
        folder: of the run.
        model: as in Config. Needed for a class of the user's own, and otherwise must be what the run was made with.
        arguments: ``--property=value`` on top of it.
        fixed: as Config, of the files that the arguments name.

    Raises:
        PopDCLError: as Config, or the run is of another model.
    """
    folder.check_trained()
    if model is not None:
        check_model(read_yaml(folder.config), typed_model(model), where=folder.path)
    return Config(model, config_files=[folder.config], arguments=arguments, fixed=fixed)


def check_model(properties: Mapping[str, Any], owner: type, *, where: str | Path) -> None:
    """Check that a run or a search was made with a model class; one of the user's may have moved to another module.

    Args:
        properties: resolved ones that the run or the search has written.
        owner: the class.
        where: its folder.

    Raises:
        PopDCLError: it was made with another one.
    """
    was_packaged = "model_class" not in properties
    if properties.get("model") != owner.__name__ or was_packaged != is_packaged(owner):
        before = shown(properties.get("model" if was_packaged else "model_class"))
        now = owner.__name__ if is_packaged(owner) else class_path(owner)
        raise PopDCLError(f"{where} is of the model {before}, not of '{now}'")


class SearchFolder(OwnedFolder):
    """The folder of a search, which holds the folders of its trials.

    Attributes:
        record: what was asked: space, options and properties.
        trials: a row a trial.
        best_settings: config file with the settings of the best trial.
    """

    KIND, FIRST, PREFIX = "search", layout.SEARCH, "tune-"

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.record = self.path / layout.SEARCH
        self.trials = self.path / layout.TRIALS
        self.best_settings = self.path / layout.BEST_SETTINGS

    @property
    def finished(self) -> bool:
        """Whether all trials have ended."""
        return self.trials.exists()

    @property
    def worth_keeping(self) -> bool:
        """Whether the search has begun: its trials can be resumed."""
        return self.begun

    def check_free(self) -> None:
        """Check that the folder is empty: Ray keeps many files of its own in it.

        Raises:
            PopDCLError: it is not.
        """
        if self.path.is_dir() and any(path.name != LOCK for path in self.path.iterdir()):
            raise PopDCLError(f"{self} is not empty; choose another --run_dir, or --resume the search in it")

    def check_there(self) -> None:
        """Check that the folder has not been deleted since the search began.

        Raises:
            PopDCLError: it has.
        """
        if not self.record.exists():
            raise PopDCLError(f"the search stopped: its folder {self} is gone")

    def absolute(self) -> SearchFolder:
        """Return the same folder by its absolute path, which Ray and the workers need."""
        return SearchFolder(self.path.absolute())

    def trial(self, name: str) -> RunFolder:
        """Return the folder of a trial's run."""
        return RunFolder(self.path / name / layout.TRIAL_RUN)
