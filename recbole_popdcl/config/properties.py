"""The table of properties: name, kind and stage of each, ours and RecBole's.

Defaults and meanings stand in the yaml files (``meaning`` reads them there). A property of one model or encoder is
declared by its class, in ``properties``; what several share, and what is RecBole's, is declared here. What may change
on resume, after training or in a search, and what tells runs apart, are questions to the stage.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import recbole
from recbole.utils import argument_list

from recbole_popdcl.config.kinds import (
    Anything,
    Choice,
    Columns,
    Devices,
    Either,
    Flag,
    Kind,
    ListOf,
    MappingOf,
    Name,
    Optional,
    OrEmpty,
    Real,
    Text,
    Whole,
)
from recbole_popdcl.config.models import is_own, is_packaged, takes_steps
from recbole_popdcl.config.reading import properties_folder
from recbole_popdcl.config.registry import classes_in
from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.evaluation.keys import MAX_K
from recbole_popdcl.evaluation.metrics import ESTIMATOR, all_metrics, find_metrics


class Stage(Enum):
    """What a property decides."""

    PLACE = "where a run runs and what it shows"
    DURATION = "how long it trains"
    DATA = "what it trains on"
    CHOICE = "which epoch it chooses"
    MEASURING = "what is measured of it"
    PROTOCOL = "which items are ranked, and how results are divided"
    SCORING = "how the trained model ranks"
    TRAINING = "what is trained"


ON_RESUME = frozenset({Stage.PLACE, Stage.DURATION})
AFTER_TRAINING = frozenset({Stage.PLACE, Stage.MEASURING, Stage.PROTOCOL, Stage.SCORING})
# Trials share their data, and one measure decides between them.
IN_SEARCH = frozenset({Stage.DURATION, Stage.SCORING, Stage.TRAINING})
TELL_RUNS_APART = frozenset(Stage) - {Stage.PLACE, Stage.MEASURING}


ANYTHING = Anything()

# Why a value has no effect, from the model's class, the values of the configuration and the value itself; an empty text
# where it has one.
Reason = Callable[[type, Mapping[str, Any], Any], str]


@dataclass(frozen=True)
class Property:
    """An entry of the table.

    Attributes:
        name: as users write it.
        kind: what its value may be.
        stage: what it decides.
        replaced_by: what does its work here; a value from outside would have no effect.
        no_effect: why a value other than the default would have no effect, whatever the model; or a function that says
            it of a model and its other properties.
        before_split: it acts on a dataset that is split here, and not on files that are split already.
        off: values with which it does not act, beside None and False; they ask for nothing.
        without_pickle: the only values that are allowed, where any other leads RecBole to unpickle a file, which can
            run code.
        derived: Config works it out from others on every start.
        optional: RecBole reads it, but nothing gives it a default: None where it is not given.
    """

    name: str
    kind: Kind = ANYTHING
    stage: Stage = Stage.TRAINING
    replaced_by: str = ""
    no_effect: str | Reason = ""
    before_split: bool = False
    off: tuple[Any, ...] = ()
    without_pickle: tuple[Any, ...] = ()
    derived: bool = False
    optional: bool = False

    @property
    def idle(self) -> bool:
        """Whether no value has an effect on any model."""
        return isinstance(self.no_effect, str) and self.no_effect != ""


SEED = Whole(0, 2**32 - 2)  # numpy takes 32 bits, and the sampler of negatives uses the next number
NEGATIVES = MappingOf(
    "\"{'distribution': 'popularity', 'sample_num': 1, 'alpha': 0.5}\"",
    (
        ("distribution", Choice(("uniform", "popularity", "none"))),
        ("sample_num", Whole(1)),
        ("alpha", Real(0, 8)),
        ("dynamic", Flag()),
        ("candidate_num", Whole(0)),
    ),
    closed=True,
)
CLIPPING = MappingOf(
    "{max_norm: 1}",
    (("max_norm", Real(0, open_=True)), ("norm_type", Real(0, open_=True)), ("error_if_nonfinite", Flag())),
    closed=True,
)
COLUMNS_OF_FILES = "\"{'item': ['item_id', 'brand']}\""
FILES_OF_SETS = Either((ListOf(Name()), MappingOf("\"{'train': 'part1', 'test_balanced': 'part2'}\"", every=Name())))
FIELDS = Optional(OrEmpty(ListOf(Text())))
PICKLE = (None, "")
AUTO = "auto"  # a value that training chooses, by valid_metric
LEVELS = ("debug", "info", "warning", "error", "critical")
SEQUENTIAL = "sequential models alone read it, and general models alone rank here"
KNOWLEDGE = "knowledge-aware models alone read it, and general models alone rank here"
# The field of interactions, beside the ids, that a general model of RecBole reads.
FIELD_READ = {"DMF": "RATING_FIELD", "DiffRec": "TIME_FIELD", "LDiffRec": "TIME_FIELD"}


def _of_features(model: type, values: Mapping[str, Any], value: Any) -> str:
    """Of what prepares features: models read none, but for the fields in FIELD_READ and classes of the user's own."""
    field = values.get(FIELD_READ.get(model.__name__, ""))
    if not is_packaged(model) or (field and (isinstance(value, bool) or field in (value or ()))):
        return ""
    return f"{model.__name__} reads no {'other ' if field else ''}features; a model class of your own can"


def _read_by(*models: str) -> Reason:
    """Of what some of RecBole's models read."""

    def _reason(model: type, values: Mapping[str, Any], value: Any) -> str:
        if not is_packaged(model) or model.__name__ in models:
            return ""
        return f"{' and '.join(models)} alone {'reads' if len(models) == 1 else 'read'} it, not {model.__name__}"

    return _reason


def _time_field(model: type, values: Mapping[str, Any], value: Any) -> str:
    """Repeated rows are dropped in the order of time, if rm_dup_inter says which."""
    if values["rm_dup_inter"]:
        return ""
    reason = _read_by("DiffRec", "LDiffRec")(model, values, value)
    return reason and f"{reason}, and rm_dup_inter is not set"


def _of_own_batches(model: type, values: Mapping[str, Any], value: Any) -> str:
    return "" if is_own(model) else f"the batches of {model.__name__} are RecBole's"


def _of_estimators(model: type, values: Mapping[str, Any], value: Any) -> str:
    measured = find_metrics(values["metrics"], "property 'metrics'")
    estimators = [metric.name for metric in all_metrics(ESTIMATOR)]
    return (
        "" if any(metric.kind == ESTIMATOR for metric in measured) else f"metrics has none of {', '.join(estimators)}"
    )


def _of_trained(model: type, values: Mapping[str, Any], value: Any) -> str:
    return "" if takes_steps(model) else f"{model.__name__} is not trained by steps"


def _of_steps(model: type, values: Mapping[str, Any], value: Any) -> str:
    """Of the steps themselves, which a class of the user's own may take in the one epoch that RecBole gives it."""
    return _of_trained(model, values, value) if is_packaged(model) else ""


def _of_batches(model: type, values: Mapping[str, Any], value: Any) -> str:
    """Of the batches, of which Pop counts the items."""
    return "" if model.__name__ == "Pop" else _of_steps(model, values, value)


def _of_recboles_batches(model: type, values: Mapping[str, Any], value: Any) -> str:
    if is_own(model):
        return f"{model.__name__} draws its batches in the training process"
    return _of_batches(model, values, value)


def _epochs(model: type, values: Mapping[str, Any], value: Any) -> str:
    return "" if value == 1 else _of_trained(model, values, value)


def _stopping_step(model: type, values: Mapping[str, Any], value: Any) -> str:
    return _with("eval_step")(model, values, value) or _of_trained(model, values, value)


def _with(name: str) -> Reason:
    """Of what needs another property."""
    return lambda model, values, value: "" if values.get(name) else f"{name} is {values.get(name)}"


_SHARED = (
    # loss
    Property("temperature", Real(0, open_=True)),
    Property("omega_plus", Real(0, 0.99)),
    Property("negative_weight", Real(0, open_=True)),
    Property("discrepancy_weight", Real(0)),
    Property("negative_sampling", Choice(("balanced", "independent"))),
    Property("distributed_negatives", Choice(("gather", "local")), no_effect=_of_own_batches),
    Property("amp_dtype", Choice(("none", "bfloat16")), off=("none",), no_effect=_of_steps),
    Property("allow_tf32", Flag(), no_effect=_of_steps),
    Property("epoch_sampling", Choice(("pairs", "users")), no_effect=_of_own_batches),
    Property("train_neg_sample_args", Optional(NEGATIVES), no_effect=_of_trained),
    # optimisation
    Property("train_batch_size", Whole(1), no_effect=_of_batches),
    Property("learner", Choice(("adam", "adamw", "sgd", "adagrad", "rmsprop")), no_effect=_of_steps),
    Property("learning_rate", Real(0, open_=True), no_effect=_of_steps),
    Property("weight_decay", Real(0), off=(0,), no_effect=_of_steps),
    Property("clip_grad_norm", Optional(CLIPPING), no_effect=_of_steps),
    Property("require_pow", Flag(), no_effect=_read_by("SimpleX")),
    Property("transform", no_effect=SEQUENTIAL),
    Property("seed", SEED),
    Property("reproducibility", Flag()),
    Property("shuffle", Flag(), no_effect=_of_batches),
    Property("worker", Whole(0), off=(0,), no_effect=_of_recboles_batches),
    Property("norm", Optional(Flag()), optional=True, no_effect=_read_by("DiffRec", "LDiffRec")),
    # duration
    Property("epochs", Whole(0), Stage.DURATION, no_effect=_epochs),
    Property("stopping_step", Whole(0), Stage.DURATION, no_effect=_stopping_step),
    # choice of the best epoch
    Property("valid_metric", Text(), Stage.CHOICE),
    Property("eval_step", Whole(0), Stage.CHOICE),
    Property("valid_users", Optional(Whole(1)), Stage.CHOICE, no_effect=_with("eval_step")),
    Property(
        "valid_metric_bigger",
        Flag(),
        Stage.PLACE,
        off=(True,),
        no_effect="valid_metric takes metrics of accuracy alone, of which larger is better",
    ),
    # what is measured
    Property("metrics", ListOf(Text(), single=True), Stage.MEASURING),
    Property("topk", ListOf(Whole(1, MAX_K), single=True), Stage.MEASURING),
    Property("eval_mask", Choice(("train", "others")), Stage.PROTOCOL),
    Property("propensity_power", Real(0), Stage.PROTOCOL, no_effect=_of_estimators),
    Property("propensity_clip", Real(0, 1, open_=True), Stage.PROTOCOL, no_effect=_of_estimators),
    Property("shift_tests", Optional(OrEmpty(ListOf(Real(0, 1)))), Stage.PROTOCOL),
    Property("unbiased_candidates", Choice(("exposed", "all")), Stage.PROTOCOL),
    Property("unbiased_rating", Optional(Real()), Stage.DATA),
    Property("cold_items", Choice(("exclude", "rank")), Stage.PROTOCOL),
    Property("segment_by", Choice(("interactions", "items")), Stage.PROTOCOL),
    Property("segments", Whole(2, 99), Stage.PROTOCOL),
    Property("user_groups", Flag(), Stage.PROTOCOL),
    # place
    Property("data_path", Text(), Stage.PLACE),
    Property("eval_memory_mb", Optional(Whole(1)), Stage.PLACE),
    Property("show_progress", Flag(), Stage.PLACE),
    Property("use_gpu", Flag(), Stage.PLACE),
    Property("gpu_id", Devices(), Stage.PLACE),
    Property("state", Choice(LEVELS, any_case=True), Stage.PLACE),
    Property("loss_decimal_place", Whole(0, 16), Stage.PLACE),
    Property("metric_decimal_place", Whole(0, 16), Stage.PLACE),
    Property("log_wandb", Flag(), Stage.PLACE),
    Property("wandb_project", Text(), Stage.PLACE, no_effect=_with("log_wandb")),
    Property("log_mlflow", Flag(), Stage.PLACE),
    Property("mlflow_experiment", Text(), Stage.PLACE, no_effect=_with("log_mlflow")),
    Property(
        "save_dataset",
        Flag(),
        Stage.PLACE,
        no_effect="RecBole's file would be a pickle; recbole-popdcl prepare writes filtered and split files",
    ),
    Property(
        "save_dataloaders",
        Flag(),
        Stage.PLACE,
        no_effect="RecBole's file would be a pickle; the same seed and split_seed give the same again",
    ),
    Property("run_dir", stage=Stage.PLACE, optional=True, no_effect="no file can say it: type --run_dir"),
    Property("config_files", stage=Stage.PLACE, optional=True, no_effect="no file can say it: type --config_files"),
    Property("world_size", stage=Stage.PLACE, optional=True, no_effect="torchrun starts several processes"),
    # data
    Property("model", Text(), Stage.DATA, optional=True),
    Property("dataset", Text(), Stage.DATA, optional=True),
    Property("k_core", Whole(0), Stage.DATA, before_split=True, off=(0, 1)),
    Property("split_ratio", ListOf(Real(0, 1), lengths=(4, 5)), Stage.DATA, before_split=True),
    Property("split_seed", SEED, Stage.DATA, before_split=True),
    Property("encoding", Text(), Stage.DATA, optional=True),
    Property("field_separator", Text(), Stage.DATA),
    Property("seq_separator", Text(), Stage.DATA),
    Property("USER_ID_FIELD", Text(), Stage.DATA),
    Property("ITEM_ID_FIELD", Text(), Stage.DATA),
    Property("RATING_FIELD", Optional(Text()), Stage.DATA, no_effect=_read_by("DMF")),
    Property("TIME_FIELD", Optional(Text()), Stage.DATA, no_effect=_time_field),
    Property("LABEL_FIELD", Optional(Text()), Stage.DATA),
    Property("NEG_PREFIX", Text(), Stage.DATA),
    Property("benchmark_filename", Optional(FILES_OF_SETS), Stage.DATA),
    Property("additional_feat_suffix", Optional(ListOf(Name(), single=True)), Stage.DATA, no_effect=_of_features),
    Property("rm_dup_inter", Optional(Choice(("first", "last"))), Stage.DATA, before_split=True),
    Property("val_interval", Optional(MappingOf("\"{'rating': '[4,inf)'}\"")), Stage.DATA, before_split=True),
    Property("filter_inter_by_user_or_item", Optional(Flag()), Stage.DATA, before_split=True, off=(False,)),
    Property("user_inter_num_interval", stage=Stage.DATA, before_split=True),
    Property("item_inter_num_interval", stage=Stage.DATA, before_split=True),
    Property("load_col", Optional(OrEmpty(MappingOf(COLUMNS_OF_FILES, every=Columns(everything=True)))), Stage.DATA),
    Property("unload_col", Optional(OrEmpty(MappingOf(COLUMNS_OF_FILES, every=Columns()))), Stage.DATA),
    Property("unused_col", Optional(OrEmpty(MappingOf(COLUMNS_OF_FILES, every=Columns()))), Stage.DATA),
    Property(
        "seq_len", Optional(OrEmpty(MappingOf("\"{'tags': 10}\"", every=Whole(1)))), Stage.DATA, no_effect=_of_features
    ),
    Property("alias_of_user_id", FIELDS, Stage.DATA, no_effect=_of_features),
    Property("alias_of_item_id", FIELDS, Stage.DATA, no_effect=_of_features),
    Property("normalize_field", FIELDS, Stage.DATA, no_effect=_of_features),
    Property("normalize_all", Optional(Flag()), Stage.DATA, no_effect=_of_features),
    Property("numerical_features", FIELDS, Stage.DATA, no_effect=_of_features),
    Property(
        "discretization",
        Optional(OrEmpty(MappingOf("\"{'price': {'method': 'ED', 'bucket': 10}}\""))),
        Stage.DATA,
        no_effect=_of_features,
    ),
    Property(
        "preload_weight",
        Optional(OrEmpty(MappingOf("\"{'entity_id': 'vector'}\""))),
        Stage.DATA,
        no_effect=_of_features,
    ),
    Property("threshold", Optional(MappingOf("\"{'rating': 3}\"", most=1)), Stage.DATA, before_split=True),
    *(
        Property(name, stage=Stage.DATA, no_effect=SEQUENTIAL)
        for name in ("ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "MAX_ITEM_LIST_LENGTH", "POSITION_FIELD")
    ),
    *(
        Property(name, stage=Stage.DATA, no_effect=KNOWLEDGE)
        for name in (
            "HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD", "kg_reverse_r",
            "entity_kg_num_interval", "relation_kg_num_interval", "alias_of_entity_id", "alias_of_relation_id",
        )
    ),
    # of RecBole's models
    Property("dropout_prob", Real(0, 1)),
    Property("k", Whole(1)),
    Property("shrink", Real(0)),
    Property("knn_method", Choice(("item", "user"))),
    # whose work something here does
    Property("eval_args", stage=Stage.DATA, replaced_by="split_ratio and eval_mask"),
    Property("eval_batch_size", stage=Stage.PLACE, replaced_by="eval_memory_mb"),
    Property("repeatable", stage=Stage.PROTOCOL, replaced_by="eval_mask"),
    Property("checkpoint_dir", stage=Stage.PLACE, replaced_by="run_dir"),
    Property("config_file", stage=Stage.PLACE, replaced_by="config_files"),
    Property("enable_amp", replaced_by="amp_dtype"),
    Property("enable_scaler", replaced_by="amp_dtype"),
    # which lead to a pickle
    Property("dataset_save_path", stage=Stage.DATA, without_pickle=PICKLE),
    Property("dataloaders_save_path", stage=Stage.DATA, without_pickle=PICKLE),
    Property("pre_model_path", without_pickle=PICKLE),  # ConvNCF
    Property("train_method", without_pickle=("no_pretrain",)),
    Property("pretrain_path", without_pickle=PICKLE),  # NAIS
    Property("use_pretrain", without_pickle=(False, None)),  # NeuMF
    Property("mf_pretrain_path", without_pickle=PICKLE),
    Property("mlp_pretrain_path", without_pickle=PICKLE),
    Property("n_cate", without_pickle=(1,)),  # LDiffRec: item_emb.npy in the dataset's folder
    # worked out from others
    *(
        Property(name, stage=Stage.PLACE, derived=True)
        for name in (
            "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank",
            "valid_neg_sample_args", "test_neg_sample_args",
        )
    ),
    Property("model_class", stage=Stage.PLACE, derived=True, optional=True),  # of a class of the user's own
)  # fmt: skip


def declared(owner: type) -> list[Property]:
    """Return the properties that a class of a model or an encoder, and the classes it derives from, declare."""
    return [entry for base in reversed(owner.__mro__) for entry in vars(base).get("properties", ())]


@functools.cache
def table() -> dict[str, Property]:
    """Return all properties by name.

    Raises:
        ValueError: a name is declared twice, with another kind or stage; says where.
    """
    entries: dict[str, Property] = {}
    homes: dict[str, str] = {}
    of_data = [Property(name, stage=Stage.DATA) for name in argument_list.dataset_arguments]
    for home, entry in (*((__name__, entry) for entry in _SHARED), *_of_classes()):
        before = entries.setdefault(entry.name, entry)
        if before != entry:
            raise ValueError(
                f"property '{entry.name}' of {home} is {entry.kind.wanted()}, but of {homes[entry.name]} it is "
                f"{before.kind.wanted()}; declare it alike for all models, or choose another name"
            )
        homes.setdefault(entry.name, home)
    return {**{entry.name: entry for entry in of_data}, **entries}


def _of_classes() -> Iterator[tuple[str, Property]]:
    """Yield the class and each property that it declares."""
    for package in ("recbole_popdcl.encoder", "recbole_popdcl.model"):
        for owner in classes_in(package):
            for entry in vars(owner).get("properties", ()):
                yield f"{owner.__module__}.{owner.__name__}", entry


def why_no_effect(entry: Property, model: type, *, values: Mapping[str, Any]) -> str:
    """Return why the value of a property has no effect, an empty text where it has one.

    Args:
        entry: of the property.
        model: class of the model.
        values: of all properties of the configuration.
    """
    if callable(entry.no_effect):
        return entry.no_effect(model, values, values[entry.name])
    return entry.no_effect or _unused_by_encoder(entry.name, values)


def _unused_by_encoder(name: str, values: Mapping[str, Any]) -> str:
    encoders = {vars(owner).get("name"): owner for owner in classes_in("recbole_popdcl.encoder")}
    users = [word for word, owner in encoders.items() if word and name in (entry.name for entry in declared(owner))]
    if not users or values.get("encoder") in (None, *users):
        return ""
    return f"encoder {values['encoder']} does not use it, {', '.join(users)} does"


def stage_of(name: str, model: type | None = None) -> Stage:
    """Return what a property decides; what nobody declares is a model's own, and part of its training.

    Args:
        name: of the property.
        model: a class of the user's own, whose declarations the table does not have.
    """
    own = {entry.name: entry for entry in declared(model)} if model else {}
    entry = own.get(name) or table().get(name)
    return entry.stage if entry else Stage.TRAINING


def names_of(stages: Collection[Stage]) -> list[str]:
    """Return the properties of some stages that a user can set, in the order of the alphabet."""
    return sorted(
        entry.name
        for entry in table().values()
        if entry.stage in stages and not (entry.derived or entry.replaced_by or entry.optional or entry.idle)
    )


def check_value(entry: Property | None, value: Any, *, where: str) -> None:
    """Check the type and range of one property.

    Args:
        entry: of the property; None, for one that the table does not have, checks nothing.
        value: its value after parsing.
        where: where the value came from, for the message ("command line", a file, "dict").

    Raises:
        PopDCLError: the value is of the wrong type or out of range.

    Examples:
        >>> check_value(table()["temperature"], 0.2, where="dict")
        >>> check_value(table()["temperature"], -1, where="dict")
        Traceback (most recent call last):
            ...
        recbole_popdcl.errors.PopDCLError: dict: property 'temperature' must be a number above 0, not -1
    """
    wanted = entry.kind.check(value) if entry else None
    if entry and wanted:
        raise PopDCLError(f"{where}: property '{entry.name}' must be {wanted}, not {shown(value)}")


# -- meanings, which stand in the yaml files ------------------------------------------------------------------------


def meaning(name: str, model: str = "") -> str:
    """Return what the comment in the yaml file of a model, else of all models, else of RecBole, says of a property.

    Args:
        name: of the property.
        model: name of a model; its file and those of the classes it derives from are read first.
    """
    files = [f"model/{owner}.yaml" for owner in (model, *_bases(model)) if owner] + ["overall.yaml"]
    folders = [properties_folder() / file for file in files]
    stock = Path(recbole.__file__).parent / "properties"
    for path in (*folders, *(stock / file for file in (f"model/{model}.yaml", "overall.yaml", "dataset/sample.yaml"))):
        text = comments(path).get(name) if path.is_file() else None
        if text:
            return text
    return ""


def _bases(model: str) -> list[str]:
    owners = {owner.__name__: owner for owner in classes_in("recbole_popdcl.model")}
    return [base.__name__ for base in owners[model].__mro__[1:]] if model in owners else []


def comments(path: Path) -> dict[str, str]:
    """Return {property: comment} of a yaml file: what stands behind its value, and on the lines of comments below."""
    return dict(_comments(path.read_text(encoding="utf-8")))


@functools.lru_cache(maxsize=128)
def _comments(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"(\w+):[^#]*(?:#\s*(.*))?$", line):
            name = match[1]
            found[name] = re.sub(r"^\(\w+(?: or \w+)*\)\s*", "", match[2] or "").strip()
        elif name and (match := re.match(r"\s+#\s*(.*)$", line)):
            found[name] = f"{found[name]} {match[1].strip()}"
        elif not line.startswith(" "):
            name = ""
    return found
