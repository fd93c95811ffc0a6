"""The one Config: RecBole's defaults < our overall.yaml < model < dataset < config files < dict < command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import recbole
from recbole.config import Config as RecBoleConfig
from recbole.evaluator.register import metrics_dict
from recbole.utils import argument_list

from recbole_popdcl.compat import add_numpy_names
from recbole_popdcl.compute import distributed
from recbole_popdcl.config import sections
from recbole_popdcl.config.kinds import Text
from recbole_popdcl.config.models import (
    class_path,
    find_model,
    general_models,
    is_packaged,
    model_names,
    not_imported,
    own_models,
    typed_model,
)
from recbole_popdcl.config.properties import Property, check_value, declared, table, why_no_effect
from recbole_popdcl.config.reading import (
    Loader,
    find_config_file,
    parse_arguments,
    parse_literal,
    properties_folder,
    read_yaml,
)
from recbole_popdcl.errors import PopDCLError, nearest, one_line, shown
from recbole_popdcl.evaluation.metrics import ACCURACY, metric_names, normalise_metrics
from recbole_popdcl.evaluation.objective import Objective

# RecBole's general code asks for these though nothing defines them, and takes None for an answer.
ASKED_BY_RECBOLE = {"double_tower", "reg_weight", "tail_ratio"}
STOCK_PROPERTIES = Path(recbole.__file__).parent / "properties" / "model"
RECBOLE_LISTS = ("general_arguments", "training_arguments", "evaluation_arguments", "dataset_arguments")
# Names that papers and other programs use for properties here; offered when someone types them.
SYNONYMS = {"tau": "temperature", "lambda": "reg_weight", "lr": "learning_rate", "batch_size": "train_batch_size"}


class Config(RecBoleConfig):
    """RecBole's Config with our property files, checked values and no eval().

    Args:
        model: name of a model, ours or RecBole's, a model class, or ``package.module:Class``, which is imported. What
            files name is not imported.
        dataset: name of a dataset.
        config_files: yaml files, later ones win. A name that is no file is looked up in the package's ``properties``
            folder, so that ``preset/released_code.yaml`` works anywhere.
        config_dict: properties; texts are parsed as literals.
        arguments: ``--property=value`` texts; None for none. ``sys.argv`` is never read.
        shared: name of what ``config_dict`` comes from, where it serves several runs, as a file does: what has no
            effect on this one is left aside. Empty where it is meant for this one.
        fixed: whether a property of a finished run stands as the first file, which the run has written, says; what the
            other files say of it is left aside, with a warning for each file. None: it never does.

    Raises:
        PopDCLError: unknown model or property, wrong type or range, unreadable file; one line that says where.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        *,
        config_files: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        arguments: Sequence[str] | None = None,
        shared: str = "",
        fixed: Callable[[str], bool] | None = None,
    ) -> None:
        self._dict = shared or "dict"
        self._typed_in = ("command line",) if shared else ("command line", "dict")
        self._fixed = fixed or (lambda name: False)
        self._left_aside: list[tuple[str, dict[str, Any]]] = []
        self._sections: list[tuple[str, dict[str, dict[str, Any]]]] = []  # of files, by the name of a model
        self._arguments = parse_arguments(arguments or [])
        self._layers: list[tuple[str, dict[str, Any]]] = []
        named = self._arguments.pop("config_files", None)
        if named == "":
            raise PopDCLError("command line: property 'config_files' must be a non-empty text, not ''")
        files = [config_files] if isinstance(config_files, (str, Path)) else list(config_files or [])
        files += [named] if named and find_config_file(named).is_file() else re.split(r"[\s,]+", (named or "").strip())
        files = [file for file in files if str(file)]
        self._typed_model = self._arguments.get("model") if model is None else model
        self._model_of_dict = (config_dict or {}).get("model")
        super().__init__(model, dataset, [find_config_file(file) for file in files], dict(config_dict or {}))

    # -- reading the layers; RecBole's constructor calls these in order ----------------------------------------------

    def compatibility_settings(self) -> None:
        """Make numpy have the names that RecBole uses."""
        add_numpy_names()

    def _build_yaml_loader(self) -> type[Loader]:
        return Loader  # RecBole's own property files are read with it too

    def _update_internal_config_dict(self, file: str) -> dict[str, Any]:
        content = read_yaml(Path(file))
        self.internal_config_dict.update(content)
        return content

    def _load_config_files(self, file_list: Sequence[str | Path] | None) -> dict[str, Any]:
        contents = [(str(file), read_yaml(Path(file))) for file in file_list or []]
        names = self._names_of_model([content.get("model") for _, content in contents])
        merged: dict[str, Any] = {}
        for place, (file, content) in enumerate(contents):
            content = self._flattened(content, names, where=file)
            aside = {name: value for name, value in content.items() if place and self._fixed(name)}
            content = {name: value for name, value in content.items() if name not in aside}
            # what the run was made with may stand in a file again
            self._left_aside.append((file, {n: value for n, value in aside.items() if value != merged.get(n)}))
            self._layers.append((file, content))
            merged.update(content)
        return merged

    def _names_of_model(self, named: Sequence[Any]) -> list[str]:
        """The names of the model's class and those that it derives from; whether there is such a model is seen later.

        Args:
            named: what the files name as model, the last one counts; nothing is imported for it, nor for the dict's.
        """
        stored = [str(name) for name in (*named, self._model_of_dict) if name is not None]
        try:
            owner = typed_model(self._typed_model) if self._typed_model else find_model(stored[-1]) if stored else None
        except PopDCLError:
            owner = None
        return [base.__name__ for base in owner.__mro__[::-1]] if owner else []

    def _flattened(self, content: Mapping[str, Any], names: Sequence[str], *, where: str) -> dict[str, Any]:
        """What a file has for this model."""
        shared, of_models = sections.split(content, more=names, where=where)
        self._sections.append((where, of_models))
        return {name: _nothing(value) for name, value in sections.merged(shared, of_models, names=names).items()}

    def _load_variable_config_dict(self, config_dict: Mapping[str, Any]) -> dict[str, Any]:
        return self._literals(self._dict, config_dict)

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._literals("command line", self._arguments)

    def _literals(self, where: str, values: Mapping[str, Any]) -> dict[str, Any]:
        if not all(isinstance(name, str) for name in values):
            raise PopDCLError(f"{where}: the names of properties must be texts")
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        parsed = {
            name: value if name in table() and isinstance(table()[name].kind, Text) else parse_literal(value)
            for name, value in values.items()
        }
        self._layers.append((where, parsed))
        return parsed

    def _get_model_and_dataset(self, model: str | type | None, dataset: str | None) -> tuple[str, type, str]:
        external = self.external_config_dict
        model_class = self._model_of_files() if self._typed_model is None else typed_model(self._typed_model)
        dataset = external.get("dataset") if dataset is None else dataset
        if model_class is None:
            raise PopDCLError("no model given; write --model=NAME, one of " + ", ".join(model_names()))
        if dataset is None:
            raise PopDCLError("no dataset given; write --dataset=NAME, for example --dataset=ml-100k")
        dataset = str(dataset)
        if re.search(r"[/\\\0]", dataset) or dataset in ("", ".", ".."):
            raise PopDCLError(f"dataset name {dataset!r} may not hold a path; the folder goes into data_path")
        return model_class.__name__, model_class, dataset

    def _model_of_files(self) -> type | None:
        """The model that files and the dict name, which no module is imported for."""
        named = self.external_config_dict.get("model")
        if (own := self.external_config_dict.get("model_class")) is not None:
            raise not_imported(str(own))
        return None if named is None else find_model(str(named))

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        lists = {name: list(getattr(argument_list, name)) for name in RECBOLE_LISTS}
        super()._load_internal_config_dict(model, model_class, dataset)
        for name, original in lists.items():  # RecBole adds the dataset's keys to its module's own lists
            getattr(argument_list, name)[:] = original
        bases = model_class.__mro__[:0:-1]  # a model of the user's has the properties of those that it derives from
        for base in bases:
            path = STOCK_PROPERTIES / f"{base.__name__}.yaml"
            if base.__module__.startswith("recbole.") and path.is_file():
                self.internal_config_dict.update(read_yaml(path))
        names = [base.__name__ for base in (*bases, model_class)]
        for file in ("overall.yaml", *(f"model/{name}.yaml" for name in names), f"dataset/{dataset}.yaml"):
            path = properties_folder() / file
            values = read_yaml(path) if path.is_file() else {}
            if file.startswith("dataset/"):
                values = sections.merged(*sections.split(values, more=(), where=file), names=names)
                values = {name: value for name, value in values.items() if name in self.internal_config_dict}
            self.internal_config_dict.update(values)
        self._check_layers(model_class)

    # -- checking ----------------------------------------------------------------------------------------------------

    def _check_layers(self, model_class: type) -> None:
        known = table() | {entry.name: entry for entry in declared(model_class)}
        # what the model has, beside what RecBole reads or Config works out
        of_model = set(self.internal_config_dict) | {
            name for name, entry in known.items() if entry.optional or entry.derived or entry.replaced_by
        }
        of_model.update(entry.name for entry in declared(model_class))
        of_model.update(*(getattr(argument_list, name) for name in RECBOLE_LISTS))
        self._warn_of_what_is_left_aside(known, of_model)
        self._check_sections(known, of_model)
        for where, values in self._layers:
            # A file may serve several models; what is typed for one run must reach the model of that run.
            typed = where in self._typed_in
            for name, value in values.items():
                self._check_name(name, where, of_model=of_model, others=set() if typed else set(known))
                check_value(known.get(name), value, where=where)
                if name == "train_neg_sample_args" and model_class in own_models().values():
                    self._check_negatives(model_class.__name__, value, where, shared=not typed)
                elif name in known and name not in of_model and is_packaged(model_class):
                    self.external_config_dict.pop(name, None)  # for other models that the file serves
                if name in known:
                    self._check_effect(known[name], where)

    def _check_sections(self, known: Mapping[str, Property], of_model: Collection[str]) -> None:
        """What a section has for this model must reach it; of other models any property will do."""
        stock = set(general_models())
        for where, of_models in self._sections:
            for section, values in of_models.items():
                others = set() if section == self.model_class.__name__ else set(known)
                for name, value in values.items():
                    if section == self.model_class.__name__ or section not in stock:
                        self._check_name(name, f"{where}, section {section}", of_model=of_model, others=others)
                    check_value(known.get(name), _nothing(value), where=f"{where}, section {section}")

    def _warn_of_what_is_left_aside(self, known: Mapping[str, Property], of_model: Collection[str]) -> None:
        for where, values in self._left_aside:
            for name, value in values.items():
                self._check_name(name, where, of_model=of_model, others=set(known))
                check_value(known.get(name), value, where=where)
            names = [name for name in values if name in of_model]  # a file may serve several models
            if names:
                self._complain(where, f"no effect on a finished run, which keeps its own: {', '.join(sorted(names))}")

    def _check_name(self, name: str, where: str, *, of_model: Collection[str], others: Collection[str]) -> None:
        """Refuse a property that neither the model nor any of the ``others`` has.

        A class of the user's may have properties that it does not declare: of it only what looks like a typing error is
        refused, by the properties of the model alone, so that a file is read as the dict was that it came from.
        """
        packaged = is_packaged(self.model_class)
        known = {*of_model, *others} if packaged else of_model
        synonym = SYNONYMS.get(name.lower())
        hint = f" (did you mean '{synonym}'?)" if synonym in known else nearest(name, known)
        if name not in known and name not in others and (hint or packaged):
            elsewhere = f"{self.model} has no" if name in table() else "unknown"
            raise PopDCLError(f"{where}: {elsewhere} property '{name}'{hint}")

    def _check_effect(self, entry: Property, where: str) -> None:
        """Refuse, or leave aside in a file, what would have no effect."""
        own_file = entry.name == "model_class" and where not in self._typed_in  # a run of a user's own class writes it
        if entry.derived and not own_file:
            self._complain(where, f"property '{entry.name}' is worked out from others and cannot be set")
        if entry.derived or entry.replaced_by:
            self.external_config_dict.pop(entry.name, None)
        if entry.replaced_by:
            self._complain(where, f"property '{entry.name}' has no effect here; use {entry.replaced_by}")

    def _complain(self, where: str, problem: str) -> None:
        """Refuse what is typed; warn of what a file has, as one that was written for RecBole may."""
        message = f"{where}: {problem}"
        if where in self._typed_in:
            raise PopDCLError(message)
        getLogger().warning(one_line(message))

    def complain(self, name: str, problem: str) -> None:
        """Say what is wrong with the value of a property, unless it asks for nothing.

        Args:
            name: of the property.
            problem: goes on behind its name.

        Raises:
            PopDCLError: the property was typed; in a file it is warned of.
        """
        where = self._asked_in(name)
        if where is not None:
            self._complain(where, f"property '{name}' {problem}")

    def _asked_in(self, name: str) -> str | None:
        """Where a property is set; None where it asks for nothing: it is none, or the default in a file, which may list
        them all, or a default with which it is off."""
        where = next((where for where, values in reversed(self._layers) if name in values), None)
        value, default = self.external_config_dict.get(name), self.internal_config_dict.get(name)
        if where is None or value is None or (value in ([], {}) and not default):
            return None
        off = value is False or (name in table() and value in table()[name].off)
        is_default = value == default or str(value) == default  # RecBole's gpu_id is a text
        return None if is_default and (off or where not in self._typed_in) else where

    def _check_effects(self) -> None:
        """Refuse what was typed, and take the default of what a file has, where the value has no effect."""
        values = self.final_config_dict
        for name in self.external_config_dict:
            reason = why_no_effect(table()[name], self.model_class, values=values) if name in table() else ""
            if reason:
                self.complain(name, f"has no effect here: {reason}")
                values[name] = self.internal_config_dict.get(name)
        negatives = values["train_neg_sample_args"]
        if isinstance(negatives, dict):
            if negatives.get("candidate_num") and not negatives.get("dynamic"):
                self.complain("train_neg_sample_args", "has a candidate_num, which has no effect without dynamic: True")
            if negatives.get("alpha", 1) != 1 and negatives.get("distribution") != "popularity":
                self.complain("train_neg_sample_args", "has an alpha, which has no effect on uniform negatives")

    def check_before_split(self) -> None:
        """Say that the dataset is split already, where a property is set that acts on others.

        Raises:
            PopDCLError: as complain.
        """
        for name, entry in table().items():
            if entry.before_split and self[name] not in entry.off:
                self.complain(name, "has no effect here: the files of the dataset are filtered and split already")

    def _check_negatives(self, model: str, value: Any, where: str, *, shared: bool) -> None:
        """A pairwise loss needs sampled negatives; one with in-batch negatives has no use for them."""
        needed = self.internal_config_dict["train_neg_sample_args"] is not None
        given = value not in (None, "None") and value.get("distribution", "uniform") != "none"
        if needed == given:
            return
        if not shared:
            what = (
                "needs sampled negatives"
                if needed
                else "has no use for sampled negatives, its loss takes in-batch ones"
            )
            raise PopDCLError(f"{where}: property 'train_neg_sample_args' cannot be {shown(value)}: {model} {what}")
        self.external_config_dict.pop("train_neg_sample_args", None)

    def _set_default_parameters(self) -> None:
        values = self.final_config_dict
        self._data_root = str(values["data_path"])
        self._check_effects()
        self._check_values(values)
        metrics = values["metrics"]
        values["metrics"] = recbole_metrics(metrics)
        super()._set_default_parameters()
        values["metrics"] = metrics
        own_copy = Path(self._data_root) / self.dataset
        if any(own_copy.glob(f"{self.dataset}*.inter")):  # RecBole sends ml-100k to its bundled copy in any case
            values["data_path"] = str(own_copy)

    def _check_values(self, values: dict[str, Any]) -> None:
        for name, entry in table().items():
            if name not in values:
                continue
            check_value(entry, values[name], where="configuration")
            if entry.without_pickle and values[name] not in entry.without_pickle:
                raise PopDCLError(
                    f"property '{name}' cannot be {shown(values[name])}: RecBole would unpickle a file, which can run "
                    f"code; leave it at {entry.without_pickle[0]!r}"
                )
        values["metrics"] = normalise_metrics(values["metrics"])
        values["topk"] = [values["topk"]] if isinstance(values["topk"], int) else list(values["topk"])
        if abs(sum(values["split_ratio"]) - 1) > 1e-6:
            raise PopDCLError(f"property 'split_ratio' must add up to 1, not {sum(values['split_ratio']):g}")
        objective = Objective.parse(values["valid_metric"], "property 'valid_metric'")
        values["valid_metric"] = str(objective)
        for key in objective.keys:  # what is chosen by is measured
            if key.metric not in [metric.lower() for metric in values["metrics"]]:
                values["metrics"] = values["metrics"] + normalise_metrics([key.metric])
            values["topk"] = sorted({*values["topk"], key.k})

    def _init_device(self) -> None:
        values = self.final_config_dict
        asked, given = values["gpu_id"], [name for name in ("gpu_id", "use_gpu") if self._asked_in(name) is not None]
        asked = ",".join(map(str, asked if isinstance(asked, (list, tuple)) else [asked]))
        if not values["use_gpu"]:
            values["gpu_id"] = ""
        elif distributed.asked_for():  # a GPU a process
            values["gpu_id"] = str(distributed.local_rank())
        super()._init_device()
        values["gpu_id"] = asked  # which another start may use
        if values["use_gpu"] and values["device"].type == "cpu" and given:  # the same command may run elsewhere
            getLogger().warning("no GPU is found, whatever %s says: this runs on the CPU", " and ".join(given))

    def __getitem__(self, name: str) -> Any:
        """Return the value of a property.

        Raises:
            KeyError: the model has no such property; RecBole gives None, and a misspelt name goes unnoticed.
        """
        values = self.final_config_dict
        if name in values:
            return values[name]
        if name in ASKED_BY_RECBOLE or (name in table() and table()[name].optional):
            return None
        if name in table() or any(entry.name == name for entry in declared(self.model_class)):
            lacks = "its default is missing in the property files of the model and its base classes, or it is another's"
            raise KeyError(f"{self.model} has no property '{name}': {lacks}")
        raise KeyError(f"{self.model} has no property '{name}'{nearest(name, values)}")

    def given(self) -> dict[str, Any]:
        """Return those of ``resolved`` that differ from the defaults of the model and the dataset."""
        defaults = self.internal_config_dict
        plain = {
            name: value for name, value in self.resolved().items() if name not in ("dataset", "model", "model_class")
        }
        return {name: value for name, value in plain.items() if name not in defaults or defaults[name] != value}

    def resolved(self) -> dict[str, Any]:
        """Return the plain values that give this configuration again when read as a config file."""
        left_out = {entry.name for entry in table().values() if entry.derived or entry.replaced_by}
        plain: dict[str, Any] = {
            name: value
            for name, value in self.final_config_dict.items()
            if name not in left_out and isinstance(value, (str, int, float, bool, list, tuple, dict, type(None)))
        }
        plain["data_path"] = str(Path(self._data_root).absolute())
        if not is_packaged(self.model_class):
            plain["model_class"] = class_path(self.model_class)
        if plain["train_neg_sample_args"]["distribution"] == "none":
            plain["train_neg_sample_args"] = None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(plain.items())}


def _nothing(value: Any) -> Any:
    """Return the value in a file, None where it is the text None, which a yaml file does not mean by it."""
    return None if value == "None" else value


def recbole_metrics(metrics: Sequence[str]) -> list[str]:
    """Return those of the metrics that RecBole's own checks and classes know, ``Recall`` where it knows none."""
    accuracy = metric_names(ACCURACY)
    return [metric for metric in metrics if metric in accuracy and metric.lower() in metrics_dict] or ["Recall"]
