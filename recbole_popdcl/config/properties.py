"""Types and ranges of the properties, ours and RecBole's most used ones; what a property means is in the yaml files."""

from __future__ import annotations

from typing import Any

from recbole_popdcl.config.kinds import Choice, Flag, ListOf, MappingOf, Name, Optional, Real, Text, Whole
from recbole_popdcl.errors import PopDCLError, shown
from recbole_popdcl.evaluation.keys import MAX_K

SEED = Whole(0, 2**32 - 2)  # numpy takes 32 bits, and the sampler of negatives uses the next number
NEGATIVES = MappingOf(
    "\"{'distribution': 'popularity', 'sample_num': 1, 'alpha': 0.5}\"",
    (
        ("distribution", Choice(("uniform", "popularity", "none"))),
        ("sample_num", Whole(1)),
        ("alpha", Real(0, 8)),
    ),
)
TYPES: dict[str, Any] = {
    # encoder
    "encoder": Choice(("lightgcn", "mf")),
    "embedding_size": Whole(1, 2**16),
    "n_layers": Whole(1),
    "layer_combination": Choice(("mean", "last")),
    "embedding_init": Choice(("xavier", "normal")),
    # loss
    "temperature": Real(0, open_=True),
    "reg_weight": Real(0),
    "l2_form": Choice(("sum", "half")),
    "positive_margin": Flag(),
    "negative_margin": Choice(("first_order", "exact", "none")),
    "omega_leave_one_out": Flag(),
    "omega_max": Real(0, 1, open_=True),
    "negative_score_floor": Optional(Real()),
    "false_negatives": Choice(("keep", "mask")),
    "distributed_negatives": Choice(("gather", "local")),
    "amp_dtype": Choice(("none", "bfloat16")),
    "allow_tf32": Flag(),
    # loss, of one or two models each
    "control_ratio": Real(0, 1, open_=True),
    "discrepancy_weight": Real(0),
    "rank_by": Choice(("treatment", "control")),
    "correlation_weight": Real(0, 1),
    "item_branch_weight": Real(0),
    "user_branch_weight": Real(0),
    "counterfactual_constant": Real(),
    "bias_margin": Choice(("angle", "sigmoid")),
    "popularity_temperature": Real(0, open_=True),
    "popularity_loss_weight": Real(0, 1, open_=True),
    "warm_up_epochs": Whole(0),
    "omega_plus": Real(0, 0.99),
    "concentration": Real(0),
    "negative_weight": Real(0, open_=True),
    "adversarial_interval": Whole(1),
    "adversarial_epochs": Whole(0),
    "adversarial_learning_rate": Real(0, open_=True),
    "positive_temperature": Real(0, open_=True),
    "negative_exponent": Optional(Real(0, open_=True)),
    "surrogate": Choice(("relu", "tanh", "atan")),
    "weight_temperature": Real(0, open_=True),
    "threshold_k": Whole(1, MAX_K),
    "threshold_interval": Whole(1),
    "margin": Real(-1, 1),
    "uniformity_weight": Real(0),
    "popularity_exponent": Real(0),
    "interest_weight": Real(0),
    "conformity_weight": Real(0),
    "loss_decay": Real(0, 1),
    "discrepancy": Choice(("l1", "l2", "dcor")),
    # sampling of negatives
    "negative_sampling": Choice(("balanced", "independent")),
    "popularity_margin": Real(0),
    "popularity_pool": Whole(1),
    "margin_decay": Real(0, 1),
    # data
    "k_core": Whole(0),
    "split_ratio": ListOf(Real(0, 1), lengths=(4, 5)),
    "split_seed": SEED,
    "epoch_sampling": Choice(("pairs", "users")),
    # evaluation
    "score_norm_exponent": Real(),
    "eval_mask": Choice(("train", "others")),
    "segment_by": Choice(("interactions", "items")),
    "eval_memory_mb": Optional(Whole(1)),
    # RecBole's own
    "metrics": ListOf(Text(), single=True),
    "topk": ListOf(Whole(1, MAX_K), single=True),
    "valid_metric": Text(),
    "epochs": Whole(0),
    "eval_step": Whole(0),
    "stopping_step": Whole(0),
    "train_batch_size": Whole(1),
    "learning_rate": Real(0, open_=True),
    "weight_decay": Real(0),
    "learner": Choice(("adam", "adamw", "sgd", "adagrad", "rmsprop")),
    "seed": SEED,
    "reproducibility": Flag(),
    "show_progress": Flag(),
    "use_gpu": Flag(),
    "data_path": Text(),
    "benchmark_filename": Optional(ListOf(Name())),
    "additional_feat_suffix": Optional(ListOf(Name(), single=True)),
    "field_separator": Text(),
    "encoding": Text(),
    "shuffle": Flag(),
    "train_neg_sample_args": Optional(NEGATIVES),
    "clip_grad_norm": Optional(MappingOf("{max_norm: 1}")),
    "val_interval": Optional(MappingOf("\"{'rating': '[4,inf)'}\"")),
    "USER_ID_FIELD": Text(),
    "ITEM_ID_FIELD": Text(),
}
# Of RecBole's own models alone.
STOCK_TYPES: dict[str, Any] = {
    "dropout_prob": Real(0, 1),
    "k": Whole(1),
    "shrink": Real(0),
    "knn_method": Choice(("item", "user")),
}


def check_type(name: str, value: Any, where: str) -> None:
    """Check the type and range of one property.

    Args:
        name: name of the property; one that neither table holds is not checked.
        value: its value after parsing.
        where: where the value came from, for the message ("command line", a file, "dict").

    Raises:
        PopDCLError: the value is of the wrong type or out of range.

    Examples:
        >>> check_type("temperature", 0.2, "dict")
        >>> check_type("temperature", -1, "dict")
        Traceback (most recent call last):
            ...
        recbole_popdcl.errors.PopDCLError: dict: property 'temperature' must be a number above 0, not -1
    """
    kind = TYPES.get(name) or STOCK_TYPES.get(name)
    wanted = kind.check(value) if kind else None
    if wanted:
        raise PopDCLError(f"{where}: property '{name}' must be {wanted}, not {shown(value)}")
