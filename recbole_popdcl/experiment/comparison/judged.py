"""Judged lists of other systems, as a comparison takes them beside its own runs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from recbole_popdcl.config.properties import Stage, names_of
from recbole_popdcl.config.reading import read_yaml
from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.experiment.folder import RunFolder
from recbole_popdcl.experiment.result import read_result

Judged = Mapping[str, Mapping[str, Sequence[RunFolder]]]  # {data set: {system: folders, by seed}}


def find_judged(paths: Iterable[str | Path], *, datasets: Collection[str], labels: Collection[str]) -> Judged:
    """Return the folders of judged lists at any depth under some folders.

    Args:
        paths: folders; each holds judged lists.
        datasets: names of the data sets that are compared.
        labels: of the models that are compared.

    Raises:
        PopDCLError: a path holds no judged lists, lists are of another data set or have the name of a model, or two
            folders hold lists of the same system, data set and seed.
    """
    found: dict[str, dict[str, dict[int, RunFolder]]] = {dataset: {} for dataset in datasets}
    for path in paths:
        folders = [RunFolder(name) for name, *_ in os.walk(path, followlinks=True) if RunFolder(name).judged]
        if not folders:
            raise PopDCLError(f"--judged {path} holds no judged lists; recbole-popdcl judge makes such folders")
        for folder in sorted(folders, key=str):
            result = read_result(folder.path)
            name, dataset = result["model"], result["dataset"]
            if dataset not in found:
                raise PopDCLError(f"{folder} holds lists of the data set {shown(dataset)}, which is not compared")
            if name in labels:
                raise PopDCLError(f"{folder} holds lists of '{name}', and a model is called so too; judge them again "
                                  "with another --name")  # fmt: skip
            seeds = found[dataset].setdefault(name, {})
            if seeds.setdefault(result["seed"], folder).path.resolve() != folder.path.resolve():
                first = seeds[result["seed"]]
                raise PopDCLError(f"{folder} and {first} hold lists of '{name}' with the same seed; judge them with "
                                  "different values of --seed")  # fmt: skip
    return {
        dataset: {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in systems.items()}
        for dataset, systems in found.items()
    }


def check_alike(judged: RunFolder, trained: RunFolder) -> None:
    """Check that lists were judged on the data, and by the protocol, of a run.

    Raises:
        PopDCLError: they were not; says what differs.
    """
    theirs, ours = (read_result(folder.path)["data"]["fingerprint"] for folder in (judged, trained))
    if theirs != ours:
        raise PopDCLError(f"{judged} was judged on other data than {trained} has: on another split, or filtered alike?")
    theirs, ours = (read_yaml(folder.config) for folder in (judged, trained))
    for name in names_of({Stage.PROTOCOL}):
        if name in ours and theirs.get(name) != ours[name]:
            raise PopDCLError(f"{judged} was judged with {name} = {theirs.get(name)!r}, {trained} has {ours[name]!r}")
