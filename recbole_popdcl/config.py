"""The one Config: RecBole's defaults < our overall.yaml < model < dataset < config files < dict < command line."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from recbole.config import Config as RecBoleConfig
from recbole.evaluator.register import metrics_dict
from recbole.utils import argument_list

from recbole_popdcl import distributed
from recbole_popdcl.compat import add_numpy_names, repaired
from recbole_popdcl.errors import PopDCLError, nearest, reason, shown
from recbole_popdcl.evaluation.keys import ACCURACY_METRICS, normalise_metrics
from recbole_popdcl.evaluation.objective import Objective
from recbole_popdcl.model.table import MODELS, find_model, model_names
from recbole_popdcl.schema import TYPES, Text, check_type

RECBOLE_LISTS = ("general_arguments", "training_arguments", "evaluation_arguments", "dataset_arguments")

# Read by RecBole though none of its lists or yaml files names them, and ours that come from the command line alone.
EXTRA_PROPERTIES = {
    "model",
    "dataset",
    "config_files",
    "run_dir",
    "norm",
    "use_gpu",
    "worker",
    "encoding",
}
# Worked out by Config itself on every start, so neither written to a run's config.yaml nor taken from outside.
DERIVED = {
    "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank", "valid_metric_bigger",
    "valid_neg_sample_args", "test_neg_sample_args",
}  # fmt: skip
# RecBole's settings that something here replaces; a value from outside would be without effect.
REPLACED = {
    "eval_args": "split_ratio and eval_mask",
    "eval_batch_size": "eval_memory_mb",
    "repeatable": "eval_mask",
    "checkpoint_dir": "run_dir",
    "enable_amp": "amp_dtype",
    "enable_scaler": "amp_dtype",
}
# RecBole would unpickle the files that these lead to, and a pickle can run code; {property: values without a file}.
PICKLED = {
    "dataset_save_path": (None, ""),
    "dataloaders_save_path": (None, ""),
    "pre_model_path": (None, ""),  # ConvNCF
    "train_method": ("no_pretrain",),
    "pretrain_path": (None, ""),  # NAIS
    "use_pretrain": (False, None),  # NeuMF
    "mf_pretrain_path": (None, ""),
    "mlp_pretrain_path": (None, ""),
    "n_cate": (1,),  # LDiffRec: item_emb.npy in the dataset's folder
}
MAX_YAML_BYTES = 1 << 18
MAX_LITERAL = 4096  # characters; Python's own parser may fall over longer and deeper ones
MAX_DEPTH = 32  # lists in lists
MAX_VALUES = 100_000  # of a yaml file, aliases written out
MAX_DIGITS = 250  # even hexadecimal ones then stay below the largest float
UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)
# Names that papers and other programs use for properties here; offered when someone types them.
SYNONYMS = {"tau": "temperature", "lambda": "reg_weight", "lr": "learning_rate", "batch_size": "train_batch_size"}


def properties_folder() -> Path:
    """Return the folder of the property yaml files, in an installed package as well as in a checkout."""
    inside = Path(__file__).parent / "properties"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "properties"


class _Loader(yaml.SafeLoader):
    """Safe yaml that reads 1e-4 as a number, as RecBole's loader does, and refuses object tags.

    A property given twice, and what would unfold in memory (aliases of aliases, deep nesting, endless numbers), is
    refused before anything is built.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values in a node, aliases written out, and how deep they are nested."""
    place = id(node)
    if measured := known.get(place):
        return measured
    if place in known:
        raise yaml.constructor.ConstructorError(None, None, "a value that holds itself", node.start_mark)
    known[place] = None
    if isinstance(node, yaml.ScalarNode):
        node.value.encode("utf-8")  # half a surrogate pair can be shown and written nowhere
        if len(node.value) > MAX_DIGITS and node.tag.endswith((":int", ":float")):
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        parts = []
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"'{key.value}' is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        parts = [_measure(part, known) for pair in node.value for part in pair]
    else:
        parts = [_measure(part, known) for part in node.value]
    size, depth = 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)
    if size > MAX_VALUES or depth > MAX_DEPTH:
        what = f"more than {MAX_VALUES} values" if size > MAX_VALUES else f"nested deeper than {MAX_DEPTH}"
        raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
    known[place] = size, depth
    return size, depth


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Puts texts that _Loader would read as numbers into quotes."""


_Dumper.yaml_implicit_resolvers = {key: list(value) for key, value in _Loader.yaml_implicit_resolvers.items()}


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Return properties as yaml that ``read_yaml`` reads back unchanged.

    Examples:
        >>> print(dump_yaml({"temperature": 0.2, "metrics": ["Recall"]}), end="")
        metrics:
        - Recall
        temperature: 0.2
    """
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=True, allow_unicode=True)


def parse_literal(text: Any) -> Any:
    """Read a value from the command line or a dict as a Python literal; what is none stays the text it is.

    Nothing is evaluated: ``"__import__('os')"`` stays a text. ``true`` and ``false`` are read in any case, and lists
    and mappings without quotes, as a shell leaves them, as yaml: ``[Recall,NDCG]``.

    Examples:
        >>> parse_literal("0.2"), parse_literal("true"), parse_literal("[Recall,NDCG]")
        (0.2, True, ['Recall', 'NDCG'])
        >>> parse_literal("__import__('os')")
        "__import__('os')"
    """
    if not isinstance(text, str) or len(text) > MAX_LITERAL or _bracket_depth(text) > MAX_DEPTH:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = ast.literal_eval(text)
        return value if _is_plain(value) else text
    if text[:1] + text[-1:] in ("[]", "{}"):  # quotes that a shell took away: [Recall,NDCG] or {sample_num:5}
        with contextlib.suppress(*UNREADABLE):
            return yaml.load(re.sub(r":(?=\S)", ": ", text) if text[0] == "{" else text, Loader=_Loader)
    return text


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for sign in re.findall(r"[\[({\])}]", text):
        depth += 1 if sign in "[({" else -1
        deepest = max(deepest, depth)
    return deepest


def _is_plain(value: Any) -> bool:
    """Whether a literal is what yaml and JSON know: no bytes, sets or complex numbers, and no endless integers."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, (str, int, float)) and _is_plain(part) for key, part in value.items())
    return isinstance(value, (str, float, type(None))) or (isinstance(value, int) and value.bit_length() < 1024)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one property file.

    Raises:
        PopDCLError: the file is missing, is not yaml, or is not a mapping of properties; names file and line.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_YAML_BYTES + 1)
        if len(text) > MAX_YAML_BYTES:
            raise PopDCLError(f"config file {path} is longer than {MAX_YAML_BYTES} bytes; is it one?")
        content = yaml.load(text.decode("utf-8"), Loader=_Loader)
    except OSError as error:
        raise PopDCLError(f"cannot read config file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PopDCLError(f"config file {path} is not UTF-8 text: byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise PopDCLError(f"config file {path}{line}: {problem}") from error
    except RecursionError as error:
        raise PopDCLError(f"config file {path}: nested deeper than {MAX_DEPTH}") from error
    except UNREADABLE as error:
        raise PopDCLError(f"config file {path}: {reason(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise PopDCLError(f"config file {path} must hold lines 'property: value', not {type(content).__name__}")
    return content


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Turn ``--property=value`` or ``--property value`` into a dict of texts.

    Raises:
        PopDCLError: an argument has another form, or a property is given twice with different values.

    Examples:
        >>> parse_arguments(["--temperature=0.2", "--encoder", "mf"])
        {'temperature': '0.2', 'encoder': 'mf'}
    """
    values: dict[str, str] = {}
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        name, equals, value = argument[2:].partition("=")
        if not argument.startswith("--") or not name:
            raise PopDCLError(f"command line: '{argument}' is not of the form --property=value")
        if not equals:
            position += 1
            if position >= len(arguments) or arguments[position].startswith("--"):
                raise PopDCLError(f"command line: --{name} has no value; write --{name}=value")
            value = arguments[position]
        if values.setdefault(name, value) != value:
            raise PopDCLError(f"command line: --{name} is given twice, as {shown(values[name])} and as {shown(value)}")
        position += 1
    return values


class Config(RecBoleConfig):
    """RecBole's Config with our property files, checked values and no eval().

    Args:
        model: name of a model, ours or RecBole's, or a model class.
        dataset: name of a dataset.
        config_files: yaml files, later ones win. A name that is no file is looked up in the package's ``properties``
            folder, so that ``preset/released_code.yaml`` works anywhere.
        config_dict: properties; texts are parsed as literals.
        arguments: ``--property=value`` texts; None for none. ``sys.argv`` is never read.

    Raises:
        PopDCLError: unknown model or property, wrong type or range, unreadable file; one line that says where.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_files: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        arguments: Sequence[str] | None = None,
    ) -> None:
        self._arguments = parse_arguments(arguments or [])
        self._layers: list[tuple[str, dict[str, Any]]] = []
        named = self._arguments.pop("config_files", None)
        files = [config_files] if isinstance(config_files, (str, Path)) else list(config_files or [])
        files += [named] if named and find_config_file(named).is_file() else re.split(r"[\s,]+", (named or "").strip())
        files = [file for file in files if str(file)]
        super().__init__(model, dataset, [find_config_file(file) for file in files], dict(config_dict or {}))

    # -- reading the layers; RecBole's constructor calls these in order ----------------------------------------------

    def compatibility_settings(self) -> None:
        """Make numpy have the names that RecBole uses."""
        add_numpy_names()

    def _build_yaml_loader(self) -> type[_Loader]:
        return _Loader  # RecBole's own property files are read with it too

    def _load_config_files(self, file_list: Sequence[str | Path] | None) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in file_list or []:
            content = read_yaml(Path(file))
            self._layers.append((str(file), content))
            merged.update(content)
        return merged

    def _load_variable_config_dict(self, config_dict: Mapping[str, Any]) -> dict[str, Any]:
        return self._literals("dict", config_dict)

    def _load_cmd_line(self) -> dict[str, Any]:
        return self._literals("command line", self._arguments)

    def _literals(self, where: str, values: Mapping[str, Any]) -> dict[str, Any]:
        if not all(isinstance(name, str) for name in values):
            raise PopDCLError(f"{where}: the names of properties must be texts")
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        parsed = {
            name: value if isinstance(TYPES.get(name), Text) or name in ("model", "dataset") else parse_literal(value)
            for name, value in values.items()
        }
        self._layers.append((where, parsed))
        return parsed

    def _get_model_and_dataset(self, model: str | type | None, dataset: str | None) -> tuple[str, type, str]:
        external = self.external_config_dict
        model = external.get("model") if model is None else model
        dataset = external.get("dataset") if dataset is None else dataset
        if model is None:
            raise PopDCLError("no model given; write --model=NAME, one of " + ", ".join(model_names()))
        if dataset is None:
            raise PopDCLError("no dataset given; write --dataset=NAME, for example --dataset=ml-100k")
        dataset = str(dataset)
        if re.search(r"[/\\\0]", dataset) or dataset in ("", ".", ".."):
            raise PopDCLError(f"dataset name {dataset!r} may not hold a path; the folder goes into data_path")
        model_class: Any = repaired(model) if isinstance(model, type) else find_model(str(model))
        return model_class.__name__, model_class, dataset

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        lists = {name: list(getattr(argument_list, name)) for name in RECBOLE_LISTS}
        super()._load_internal_config_dict(model, model_class, dataset)
        for name, original in lists.items():  # RecBole adds the dataset's keys to its module's own lists
            getattr(argument_list, name)[:] = original
        names = [base.__name__ for base in reversed(model_class.__mro__)]  # a model of the user's has its base's too
        for file in ("overall.yaml", *(f"model/{name}.yaml" for name in names), f"dataset/{dataset}.yaml"):
            path = properties_folder() / file
            values = read_yaml(path) if path.is_file() else {}
            if file.startswith("dataset/"):  # a section named like a model is for that model alone
                values = {**values, **{key: value for name in names for key, value in (values.get(name) or {}).items()}}
                values = {name: value for name, value in values.items() if name in self.internal_config_dict}
            self.internal_config_dict.update(values)
        self._check_layers(model_class)

    # -- checking ----------------------------------------------------------------------------------------------------

    def _check_layers(self, model_class: type) -> None:
        used = set(self.internal_config_dict) | EXTRA_PROPERTIES | DERIVED
        used.update(*(getattr(argument_list, name) for name in RECBOLE_LISTS))
        own_class = find_model(model_class.__name__, missing_ok=True) is not model_class
        for where, values in self._layers:
            # A file may serve several models; what is typed for one run must reach the model of that run.
            shared = where not in ("command line", "dict")
            known = used | set(TYPES) if shared else used
            for name, value in values.items():
                synonym = SYNONYMS.get(name.lower())
                hint = f" (did you mean '{synonym}'?)" if synonym in known else nearest(name, known)
                if name not in known and (hint or not own_class):
                    elsewhere = f"{model_class.__name__} has no" if name in TYPES else "unknown"
                    raise PopDCLError(f"{where}: {elsewhere} property '{name}'{hint}")
                check_type(name, value, where)
                if name in DERIVED and not shared:
                    raise PopDCLError(f"{where}: property '{name}' is worked out from others and cannot be set")
                if name == "train_neg_sample_args" and model_class.__name__ in MODELS and not own_class:
                    self._check_negatives(model_class.__name__, value, where, shared)
                elif name in TYPES and name not in used and not own_class:
                    self.external_config_dict.pop(name, None)  # for other models that the file serves
                if name in DERIVED or name in REPLACED:
                    self.external_config_dict.pop(name, None)
                if name in REPLACED:
                    message = f"{where}: property '{name}' has no effect here; use {REPLACED[name]}"
                    if not shared:
                        raise PopDCLError(message)
                    getLogger().warning(message)  # files written for RecBole have it too

    def _check_negatives(self, model: str, value: Any, where: str, shared: bool) -> None:
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
        self._check_values(values)
        metrics = values["metrics"]
        values["metrics"] = recbole_metrics(metrics)
        super()._set_default_parameters()
        values["metrics"] = metrics
        own_copy = Path(self._data_root) / self.dataset
        if any(own_copy.glob(f"{self.dataset}*.inter")):  # RecBole sends ml-100k to its bundled copy in any case
            values["data_path"] = str(own_copy)

    def _check_values(self, values: dict[str, Any]) -> None:
        where = "configuration"
        for name in TYPES:
            if name in values:
                check_type(name, values[name], where)
        for name, harmless in PICKLED.items():
            if name in values and values[name] not in harmless:
                raise PopDCLError(
                    f"property '{name}' cannot be {shown(values[name])}: RecBole would unpickle a file, which can run "
                    f"code; leave it at {harmless[0]!r}"
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
        if not self.final_config_dict["use_gpu"]:
            self.final_config_dict["gpu_id"] = ""
        elif distributed.asked_for():  # a GPU a process
            self.final_config_dict["gpu_id"] = str(distributed.local_rank())
        super()._init_device()

    def resolved(self) -> dict[str, Any]:
        """Return the plain values that give this configuration again when read as a config file."""
        plain: dict[str, Any] = {
            name: value
            for name, value in self.final_config_dict.items()
            if name not in DERIVED
            and name not in REPLACED
            and isinstance(value, (str, int, float, bool, list, tuple, dict, type(None)))
        }
        plain["data_path"] = str(Path(self._data_root).absolute())
        if plain["train_neg_sample_args"]["distribution"] == "none":
            plain["train_neg_sample_args"] = None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(plain.items())}


def recbole_metrics(metrics: Sequence[str]) -> list[str]:
    """Return those of the metrics that RecBole's own checks and classes know, ``Recall`` where it knows none."""
    return [metric for metric in metrics if metric in ACCURACY_METRICS and metric.lower() in metrics_dict] or ["Recall"]


def find_config_file(file: str | Path) -> Path:
    """Return the config file as a path: itself, or the one of that name in the package's ``properties`` folder."""
    path = Path(file)
    packaged = properties_folder() / path
    if path.is_file() or not packaged.is_file():
        return path
    return packaged
