"""Each property that RecBole's lists name has an effect that can be seen, or is refused, and warned of in a file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import types
from pathlib import Path

import pytest
import recbole
import torch
import yaml
from recbole.utils import argument_list

from recbole_popdcl.cli import main
from recbole_popdcl.config.config import RECBOLE_LISTS, Config
from recbole_popdcl.config.models import find_model, general_models, is_own
from recbole_popdcl.config.properties import names_of, table
from recbole_popdcl.config.reading import parse_literal
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.experiment.folder import RunFolder
from recbole_popdcl.experiment.run import run
from recbole_popdcl.model.ssm import SSM
from recbole_popdcl.training.checkpoint import load_checkpoint
from tests.conftest import skewed_pairs, the_one_line

PROPERTIES = Path(recbole.__file__).parent / "properties"
DEFAULTS = {
    name: value
    for file in ("overall.yaml", "dataset/sample.yaml")
    for name, value in yaml.safe_load((PROPERTIES / file).read_text("utf-8")).items()
}
NAMES = sorted({*DEFAULTS, *(name for names in RECBOLE_LISTS for name in getattr(argument_list, names))})
# A value that asks for something, where the default is nothing or a mapping.
OTHERS = {
    "transform": "mask_itemseq", "alias_of_entity_id": ["x"], "alias_of_relation_id": ["x"], "config_file": "x.yaml",
    "dataset_save_path": "x.pth", "dataloaders_save_path": "x.pth", "eval_args": {"mode": "uni100"},
    "entity_kg_num_interval": "[3,inf)", "relation_kg_num_interval": "[3,inf)",
}  # fmt: skip


def other(name):
    """A value that differs from RecBole's default."""
    if name in OTHERS:
        return OTHERS[name]
    value = DEFAULTS[name]
    if isinstance(value, bool):
        return not value
    return value + (1 if isinstance(value, int) else "x")


# -- data and runs ----------------------------------------------------------------------------------------------------

USERS, ITEMS = skewed_pairs(30, 20, 250)
ROWS = [f"u{u}\ti{i}\t{1 + (3 * u + i) % 5}\t{1000 + 7 * k}" for k, (u, i) in enumerate(zip(USERS, ITEMS))]
ROWS += [f"{row.rsplit(chr(9), 2)[0]}\t5\t{k}" for k, row in enumerate(ROWS[:40])]  # once more, earlier
INTER = "\n".join(["user_id:token\titem_id:token\trating:float\ttimestamp:float", *ROWS, ""])
ITEM = "item_id:token\ttwin:token\ttags:token_seq\tprice:float\n" + "".join(
    f"i{i}\ti{(i + 1) % 15}\ta b|c\t{i}\n" for i in range(15)
)
USER = "user_id:token\tfriend:token\n" + "".join(f"u{u}\tu{u // 2}\n" for u in range(30))
EMB = "entity:token\tvec:float_seq\n" + "".join(f"i{i}\t{i} 1\n" for i in range(15))
EVERYTHING = "--load_col={'inter': '*', 'item': '*', 'user': '*'}"
KEEP = "--filter_inter_by_user_or_item=False"


class FeatureReader(SSM):
    """A class of the user's own may read features."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data_path: ``x`` has interactions alone, ``y`` features too, ``z`` is split."""
    folder = tmp_path_factory.mktemp("data")
    files = {
        "x": {"inter": INTER}, "y": {"inter": INTER, "item": ITEM, "user": USER, "emb": EMB},
        "z": {f"{part}.inter": "\n".join([INTER.split("\n")[0], *ROWS[start::3], ""])
              for start, part in enumerate(("train", "valid", "test"))},
        "commas": {"inter": INTER.replace("\t", ",")}, "names": {"inter": INTER.replace("user_id", "who")
                                                                 .replace("item_id", "what")},
    }  # fmt: skip
    (folder / "elsewhere" / "x").mkdir(parents=True)
    (folder / "elsewhere" / "x" / "x.inter").write_text("user_id:token\titem_id:token\nonly\tone\n")
    for name, texts in files.items():
        (folder / name).mkdir()
        for suffix, text in texts.items():
            (folder / name / f"{name}.{suffix}").write_text(text)
    return folder


@pytest.fixture
def quick(folder, tmp_path, monkeypatch, capsys):
    """What the tests do with the data sets; arguments are ``--property=value``."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return Quick(folder, tmp_path, monkeypatch=monkeypatch, capsys=capsys)


class Quick:
    def __init__(self, folder, tmp_path, *, monkeypatch, capsys):
        self.folder, self.tmp_path, self.monkeypatch, self.capsys = folder, tmp_path, monkeypatch, capsys
        self.file = tmp_path / "base.yaml"
        base = {"data_path": str(folder), "k_core": 0, "epochs": 1, "eval_step": 1, "show_progress": False}
        self.file.write_text(yaml.safe_dump(base))
        self.count = 0

    def config(self, *arguments, model="BPR", name="x", config_files=(), **more):
        return Config(model, name, arguments=arguments, config_files=[self.file, *config_files], **more)

    def data(self, *arguments, model="BPR", name="x"):
        arguments = list(arguments)
        file = [text.partition("=")[2] for text in arguments if text.startswith("--config_files=")]
        typed = [text for text in arguments if not text.startswith("--config_files=")]
        config = self.config(*typed, model=model, name=name, config_files=file)
        return load_data(config, own_batches=is_own(config.model_class))

    def features(self, *arguments):
        more = () if any(text.startswith("--load_col") for text in arguments) else (EVERYTHING,)
        return self.data(*more, KEEP, *arguments, model=FeatureReader, name="y").dataset

    def trained(self, *arguments, model="BPR"):
        """Train on ``x`` and return the RunFolder."""
        self.count += 1
        target = self.tmp_path / f"run{self.count}"
        run(model, "x", run_dir=target, config_files=[self.file], arguments=arguments)
        return RunFolder(target)

    def refused(self, *arguments):
        """The line that the command line prints."""
        self.capsys.readouterr()
        file = self.tmp_path / "more.yaml"
        file.write_text(self.file.read_text())
        return the_one_line(["run", "--model=BPR", "--dataset=x", *arguments], self.capsys)

    def screen(self, *arguments):
        """What a terminal shows."""
        screen = io.StringIO()
        screen.isatty = lambda: True
        with contextlib.redirect_stderr(screen):
            self.trained(*arguments)
        return screen.getvalue()

    def table(self, *arguments):
        """The table that ``run`` prints."""
        self.capsys.readouterr()
        run_dir = f"--run_dir={self.tmp_path / 'told'}"
        assert main(["run", "--model=BPR", "--dataset=x", f"--config_files={self.file}", run_dir, *arguments]) == 0
        return self.capsys.readouterr().out

    def wandb(self, *arguments):
        """What a stand-in for W&B is told."""
        seen = {"keys": set()}

        class Run:
            id, summary = "1", {}

            def log(self, values):
                seen["keys"].update(values)

            def define_metric(self, *_, **__):
                pass

            def finish(self, **_):
                seen["keys"].update(self.summary)

        def init(**options):
            seen["project"] = options["project"]
            return Run()

        self.monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init, run=None))
        self.trained(*arguments)
        return seen


def weights(run_folder):
    state = load_checkpoint(run_folder.checkpoint)["weights"]
    return torch.cat([value.flatten().float() for value in state.values()])


def lines(run_folder):
    return [json.loads(line) for line in run_folder.metrics.read_text().splitlines()]


def result(run_folder):
    return json.loads(run_folder.result.read_text())


# -- effects ----------------------------------------------------------------------------------------------------------


def other_weights(*arguments, model="BPR"):
    """The model learns something else."""

    def check(quick):
        plain, changed = (weights(quick.trained(*more, model=model)) for more in ((), arguments))
        assert plain.shape == changed.shape
        assert not torch.equal(plain, changed)

    return check


def gpu_id(quick):
    quick.config("--gpu_id=7")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


@pytest.mark.parametrize("way", ["--use_gpu=True", "--gpu_id=3", "--gpu_id=0"])
def test_a_gpu_that_is_not_there_is_told(way, quick, caplog):
    """It is no error: the same command may run on another machine."""
    quick.config("--seed=3")
    assert caplog.messages == []
    quick.config(way)
    assert caplog.messages == [f"no GPU is found, whatever {way[2:].partition('=')[0]} says: this runs on the CPU"]


@pytest.mark.parametrize(
    ("value", "right"),
    [("0", True), ("0,1", True), ("(0, 1)", True), ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", True), ("", True),
     ("abc", False), ("{}", False), ("-1", False), ("0;1", False), ("True", False), ("1.5", False)],
)  # fmt: skip
def test_numbers_of_gpus(value, right, quick):
    with contextlib.nullcontext() if right else pytest.raises(PopDCLError, match="'gpu_id' must be numbers of GPUs"):
        quick.config(f"--gpu_id={value}")


def test_a_run_on_the_cpu_keeps_the_number_of_the_gpu(quick):
    """Its configuration with use_gpu may use it."""
    assert quick.config("--use_gpu=False", "--gpu_id=3").resolved()["gpu_id"] == "3"


def use_gpu(quick):
    quick.config("--gpu_id=7", "--use_gpu=False")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def reproducibility(quick):
    assert result(quick.trained("--reproducibility=False"))["not_deterministic"] != []
    assert result(quick.trained("--reproducibility=True"))["not_deterministic"] == []


def state(quick):
    assert " INFO " in quick.trained("--state=INFO").log.read_text()
    assert quick.trained("--state=error").log.read_text() == ""
    assert " DEBUG " in quick.trained("--state=Debug").log.read_text()


def data_path(quick):
    assert quick.data("--data_path", str(quick.folder / "elsewhere"), model="PopDCL").dataset.user_num == 2
    assert quick.data().dataset.user_num == 31


def show_progress(quick):
    assert "epoch 0: 100%" in quick.screen("--show_progress=True")
    assert "epoch 0: 100%" not in quick.screen("--show_progress=False")


def log_wandb(quick):
    seen = quick.wandb("--log_wandb=True", "--wandb_project=mine")
    assert seen["project"] == "mine"
    assert seen["keys"] >= {"train_loss", "valid/recall@20", "result/balanced/recall@20"}
    assert quick.wandb("--log_wandb=False") == {"keys": set()}


def worker(quick):
    assert quick.data("--worker=1").train.num_workers == 1
    assert quick.data("--worker=0").train.num_workers == 0


def shuffle(quick):
    (plain, *_), (mixed, *_) = (quick.data(f"--shuffle={value}").train for value in (False, True))
    users = quick.data().train_set.inter_feat["user_id"]
    assert plain["user_id"].tolist() == users.tolist()[: len(plain["user_id"])]
    assert mixed["user_id"].tolist() != plain["user_id"].tolist()


def epochs(quick):
    assert len(lines(quick.trained("--epochs=3"))) == 3


def train_batch_size(quick):
    assert len(next(iter(quick.data("--train_batch_size=64").train))) == 64


def eval_step(quick):
    found = [line["epoch"] for line in lines(quick.trained("--epochs=4", "--eval_step=2")) if "valid/recall@20" in line]
    assert found == [1, 3]


def stopping_step(quick):
    ends = [
        len(
            lines(
                quick.trained("--epochs=40", "--learning_rate=0.5", "--valid_metric=ndcg@2", f"--stopping_step={steps}")
            )
        )
        for steps in (0, 5)
    ]
    assert ends[0] < ends[1]


def loss_decimal_place(quick):
    assert re.search(r"epoch 0: loss 0\.\d{7},", quick.trained("--loss_decimal_place=7").log.read_text())


def metric_decimal_place(quick):
    assert re.search(r"recall@20 \d\.\d{7} \(best", quick.trained("--metric_decimal_place=7").log.read_text())
    assert re.search(r"balanced +all +\d\.\d{6} +\d\.\d{6}\n", quick.table("--metric_decimal_place=6"))


def metrics(quick):
    assert "balanced/hit@20" in result(quick.trained("--metrics=[Recall,Hit]"))["test"]


def topk(quick):
    assert "balanced/recall@7" in result(quick.trained("--topk=[7,20]"))["test"]


def valid_metric(quick):
    assert "ndcg@3 " in quick.trained("--valid_metric=ndcg@3").log.read_text()


def field_separator(quick):
    assert len(quick.data("--field_separator=,", name="commas").dataset.inter_feat) == len(
        quick.data().dataset.inter_feat
    )
    with pytest.raises(PopDCLError):
        quick.data(name="commas")


def seq_separator(quick):
    assert quick.features().num("tags") == 3  # a, b|c and padding
    assert quick.features("--seq_separator=|").num("tags") == 3  # "a b", c and padding
    assert "a b" in quick.features("--seq_separator=|").field2token_id["tags"]


def ids(quick):
    more = "--load_col={'inter': ['who', 'what']}"
    data = quick.data("--USER_ID_FIELD=who", "--ITEM_ID_FIELD=what", more, name="names")
    assert data.dataset.user_num == 31


def rating_field(quick):
    """DMF reads the matrix of ratings."""
    every = ("--inter_matrix_type=rating", "--load_col={'inter': '*'}", "--normalize_all=False")
    stars, times = (weights(quick.trained(*every, f"--RATING_FIELD={name}", model="DMF"))
                    for name in ("rating", "timestamp"))  # fmt: skip
    assert not torch.equal(stars, times)


def time_field(quick):
    """Of repeated rows the first in time is kept."""
    kept = [quick.data("--rm_dup_inter=first", f"--TIME_FIELD={name}", EVERY_COLUMN).dataset.inter_feat["rating"].sum()
            for name in ("timestamp", "rating")]  # fmt: skip
    assert kept[0] > kept[1]


def label_field(quick):
    (batch, *_) = quick.data("--LABEL_FIELD=good", model="NeuMF").train
    assert set(batch["good"].tolist()) == {0.0, 1.0}


def neg_prefix(quick):
    (batch, *_) = quick.data("--NEG_PREFIX=other_").train
    assert "other_item_id" in batch.interaction


def seq_len(quick):
    assert quick.features().item_feat["tags"].shape[1] == 2
    assert quick.features("--seq_len={'tags': 1}").item_feat["tags"].shape[1] == 1


def load_col(quick):
    assert "rating" in quick.data(EVERY_COLUMN).dataset.inter_feat
    assert "rating" not in quick.data("--load_col={'inter': ['user_id', 'item_id']}").dataset.inter_feat


def unload_col(quick):
    fields = quick.data("--load_col=None", "--unload_col={'inter': ['rating']}").dataset.inter_feat.interaction
    assert set(fields) == {"user_id", "item_id", "timestamp"}


def unused_col(quick):
    fields = quick.data(EVERY_COLUMN, "--unused_col={'inter': ['rating']}").dataset.inter_feat.interaction
    assert set(fields) == {"user_id", "item_id", "timestamp"}


def additional_feat_suffix(quick):
    assert "emb_feat" in quick.features(*WITH_EMB).feat_name_list


def rm_dup_inter(quick):
    kept = [quick.data(f"--rm_dup_inter={which}", EVERY_COLUMN).dataset.inter_feat["rating"].sum().item()
            for which in ("first", "last")]  # fmt: skip
    assert kept[0] > kept[1]  # the repeated rows, of 5 stars, come first in time


def val_interval(quick):
    data = quick.data(EVERY_COLUMN, "--val_interval={'rating': '[2,3]'}", "--normalize_all=None").dataset
    assert 0 < len(data.inter_feat) < len(quick.data().dataset.inter_feat)


def filter_inter(quick):
    kept = [quick.data("--load_col={'inter': '*', 'item': '*'}", f"--filter_inter_by_user_or_item={value}", name="y")
            for value in (True, False)]  # fmt: skip
    assert len(kept[0].dataset.inter_feat) < len(kept[1].dataset.inter_feat)


def interval(who):
    def check(quick):
        counts = torch.bincount(quick.data(f"--{who}_inter_num_interval=[5,12]").dataset.inter_feat[f"{who}_id"])[1:]
        assert 5 <= counts.min() <= counts.max() <= 12

    return check


def alias(who, field):
    def check(quick):
        assert (
            quick.features(f"--alias_of_{who}_id=['{field}']").field2token_id[field][f"{who[0]}3"]
            == (quick.features(f"--alias_of_{who}_id=['{field}']").field2token_id[f"{who}_id"][f"{who[0]}3"])
        )
        plain = quick.features()
        assert list(plain.field2token_id[field]) != list(plain.field2token_id[f"{who}_id"])

    return check


def preload_weight(quick):
    data = quick.features(*WITH_EMB, "--preload_weight={'entity': 'vec'}")
    assert data.get_preload_weight("entity")[data.field2token_id["entity"]["i7"]].tolist() == [7, 1]


def normalize_field(quick):
    assert quick.features("--normalize_all=False", "--normalize_field=['price']").item_feat["price"].max() == 1


def normalize_all(quick):
    tops = [quick.features(f"--normalize_all={value}").item_feat["price"].max().item() for value in (True, False)]
    assert tops == [1, 14]


def numerical_features(quick):
    assert quick.features("--numerical_features=['price']").item_feat["price"].ndim == 2


def discretization(quick):
    rule = "--discretization={'price': {'method': 'ED', 'bucket': 3}}"
    assert quick.features("--numerical_features=['price']", rule).item_feat["price"][:, 1].max() == 3


def benchmark_filename(quick):
    sets = quick.data("--benchmark_filename=['test', 'train']", name="z")
    assert len(quick.data(name="z").train_set.inter_feat) == len(sets.train_set.inter_feat) + 1 == 97


def threshold(quick):
    """Takes rows, or says why not."""
    try:
        data = quick.data(EVERY_COLUMN, "--threshold={'rating': 3}", "--normalize_all=None").dataset
    except PopDCLError:
        return
    labels = data.inter_feat.interaction.get("label")
    assert len(data.inter_feat) < len(quick.data().dataset.inter_feat) or 0 < labels.mean() < 1


NEGATIVES = "{'distribution': 'popularity', 'sample_num': 2, 'alpha': 0.5}"
EVERY_COLUMN = "--load_col={'inter': '*'}"
WITH_EMB = ("--additional_feat_suffix=emb", "--load_col={'inter': '*', 'item': '*', 'emb': '*'}")
EFFECTS = {
    **{check.__name__: check for check in (
        gpu_id, use_gpu, reproducibility, state, data_path, show_progress, log_wandb, worker, shuffle, epochs,
        train_batch_size, eval_step, stopping_step, loss_decimal_place, metric_decimal_place, metrics, topk,
        valid_metric, field_separator, seq_separator, seq_len, load_col, unload_col, unused_col,
        additional_feat_suffix, rm_dup_inter, val_interval, preload_weight, normalize_field, normalize_all,
        numerical_features, discretization, benchmark_filename, threshold,
    )},
    "seed": other_weights("--seed=7"), "learner": other_weights("--learner=sgd"),
    "learning_rate": other_weights("--learning_rate=0.1"), "weight_decay": other_weights("--weight_decay=0.5"),
    "clip_grad_norm": other_weights("--clip_grad_norm={'max_norm': 1e-9}"),
    "train_neg_sample_args": other_weights(f"--train_neg_sample_args={NEGATIVES}"),
    "require_pow": other_weights("--require_pow=True", "--reg_weight=1", model="SimpleX"),
    "wandb_project": log_wandb, "USER_ID_FIELD": ids, "ITEM_ID_FIELD": ids, "RATING_FIELD": rating_field,
    "TIME_FIELD": time_field, "LABEL_FIELD": label_field, "NEG_PREFIX": neg_prefix,
    "filter_inter_by_user_or_item": filter_inter, "user_inter_num_interval": interval("user"),
    "item_inter_num_interval": interval("item"), "alias_of_user_id": alias("user", "friend"),
    "alias_of_item_id": alias("item", "twin"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_effect_or_a_refusal_and_a_warning(name, quick, tmp_path, caplog):
    """A property that is new in RecBole fails here until it has one or the other."""
    if name in EFFECTS:
        EFFECTS[name](quick)
        return
    value = other(name)
    line = quick.refused(f"--{name}={value}")
    assert re.match(rf"recbole-popdcl: error: (command line: )?property '{name}' (has no effect here|cannot be)", line)
    with pytest.raises(PopDCLError, match=rf"property '{name}' (has no effect here|cannot be)"):
        quick.config(config_dict={name: value})
    file = tmp_path / "shared.yaml"
    file.write_text(yaml.safe_dump({name: value}))
    if name in WITHOUT_PICKLE:  # of which no more than a refusal is safe
        assert f"property '{name}' cannot be" in quick.refused(f"--config_files={file}")
        return
    caplog.clear()
    values = quick.config(config_files=[file])
    (warning,) = caplog.messages
    caplog.clear()
    assert warning.startswith(f"{file}: property '{name}' has no effect here")
    assert values.resolved() == quick.config().resolved()
    file.write_text(yaml.safe_dump({name: DEFAULTS.get(name)}))
    plain = quick.config(config_files=[file])
    assert caplog.messages == [] or name in ALWAYS_REPLACED
    assert plain.resolved() == quick.config().resolved()


WITHOUT_PICKLE = ("dataset_save_path", "dataloaders_save_path")
ALWAYS_REPLACED = (
    "checkpoint_dir", "config_file", "enable_amp", "enable_scaler", "eval_args", "eval_batch_size", "repeatable"
)  # fmt: skip


OF_STEPS = {
    "learner": "sgd", "learning_rate": 0.5, "weight_decay": 0.5, "clip_grad_norm": {"max_norm": 1.0},
    "train_batch_size": 7, "shuffle": False, "amp_dtype": "bfloat16", "allow_tf32": True,
    "stopping_step": 3, "train_neg_sample_args": {"distribution": "popularity"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "model", "with_", "reason"),
    [
        ("n_layers", 3, "PopDCL", {"encoder": "mf"}, "encoder mf does not use it, lightgcn does"),
        ("layer_combination", "last", "LightGCN", {"encoder": "mf"}, "encoder mf does not use it, lightgcn does"),
        ("normalize_field", ["price"], "PopDCL", {}, "PopDCL reads no features; a model class of your own can"),
        ("normalize_all", False, "BPR", {}, "BPR reads no features"),
        ("normalize_field", ["age"], "DMF", {}, "DMF reads no other features"),
        ("seq_len", {"tags": 3}, "NeuMF", {}, "NeuMF reads no features"),
        ("alias_of_item_id", ["twin"], "PopDCL", {}, "PopDCL reads no features"),
        ("worker", 2, "PopDCL", {}, "PopDCL draws its batches in the training process"),
        ("epoch_sampling", "users", "BPR", {}, "the batches of BPR are RecBole's"),
        ("distributed_negatives", "local", "BPR", {}, "the batches of BPR are RecBole's"),
        ("RATING_FIELD", "stars", "PopDCL", {}, "DMF alone reads it, not PopDCL"),
        ("TIME_FIELD", "when", "PopDCL", {}, "DiffRec and LDiffRec alone read it, not PopDCL, and rm_dup_inter is"),
        ("require_pow", True, "PopDCL", {}, "SimpleX alone reads it, not PopDCL"),
        ("wandb_project", "mine", "PopDCL", {}, "log_wandb is False"),
        ("train_neg_sample_args", {"distribution": "popularity"}, "Pop", {}, "Pop is not trained by steps"),
        ("stopping_step", 3, "PopDCL", {"eval_step": 0}, "eval_step is 0"),
        ("learner", "sgd", "Pop", {}, "Pop is not trained by steps"),
        ("worker", 2, "EASE", {}, "EASE is not trained by steps"),
        *((name, value, "ItemKNN", {}, "ItemKNN is not trained by steps") for name, value in OF_STEPS.items()),
        *((name, value, "NCEPLRec", {}, "NCEPLRec is not trained by steps") for name, value in OF_STEPS.items()),
    ],
)  # fmt: skip
def test_a_property_that_depends_on_others(name, value, model, with_, reason, quick, tmp_path, caplog):
    with pytest.raises(PopDCLError, match=f"^dict: property '{name}' has no effect here: {reason}"):
        quick.config(model=model, config_dict={name: value, **with_})
    file = tmp_path / "shared.yaml"
    file.write_text(yaml.safe_dump({name: value}))
    values = quick.config(model=model, config_files=[file], config_dict=with_)
    assert f"{file}: property '{name}' has no effect here: {reason}" in caplog.text
    assert values.resolved() == quick.config(model=model, config_dict=with_).resolved()
    caplog.clear()
    again = Config(config_dict=values.resolved(), shared="search.yaml")  # as a search does
    assert again.resolved() == values.resolved()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "model", "name_of_data", "with_"),
    [("n_layers", "PopDCL", "x", {"encoder": "mf"}),
     ("epoch_sampling", "BPR", "x", {}), ("wandb_project", "PopDCL", "x", {}), ("learner", "ItemKNN", "x", {}),
     ("TIME_FIELD", "PopDCL", "x", {}), ("k_core", "PopDCL", "z", {}), ("split_seed", "PopDCL", "z", {}),
     ("split_ratio", "PopDCL", "z", {}), ("LIST_SUFFIX", "PopDCL", "x", {})],
)  # fmt: skip
def test_the_default_is_refused_too_where_it_is_typed(name, model, name_of_data, with_, quick, tmp_path, caplog):
    """It may differ from what the user thinks it does; a file may list every default."""
    plain = Config(model, name_of_data, config_dict={"data_path": str(quick.folder), **with_})
    default = plain.internal_config_dict[name]
    given = {"data_path": str(quick.folder), **({} if name == "k_core" else {"k_core": 0}), **with_}

    def loaded(**more):
        return load_data(Config(model, name_of_data, **more), own_batches=is_own(plain.model_class))

    with pytest.raises(PopDCLError, match=f"^dict: property '{name}' has no effect here: "):
        loaded(config_dict={**given, name: default})
    with pytest.raises(PopDCLError, match=f"^command line: property '{name}' has no effect here: "):
        loaded(config_dict=given, arguments=[f"--{name}={default}"])
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump({name: default}))
    loaded(config_dict=given, config_files=[file])
    assert not [text for text in caplog.messages if name in text]


@pytest.mark.parametrize(
    "argument",
    ["log_wandb=False", "transform=None", "worker=0", "valid_metric_bigger=True", "save_dataset=False",
     "require_pow=False", "numerical_features=[]", "seq_len={}", "train_neg_sample_args=None"],
)  # fmt: skip
def test_what_asks_for_nothing_is_accepted(argument, quick):
    assert quick.config(f"--{argument}", model="PopDCL").resolved() == quick.config(model="PopDCL").resolved()


@pytest.mark.parametrize(
    "argument", ["k_core=0", "k_core=1", "val_interval=None", "filter_inter_by_user_or_item=False"]
)
def test_no_filter_is_accepted_beside_split_files(argument, quick):
    assert len(quick.data(f"--{argument}", name="z").train_set.inter_feat) == 97


def test_a_class_of_ones_own_may_take_steps_in_its_one_epoch(quick):
    """RecBole gives a class of this type one epoch; what it does in it is its own."""
    own = type("Own", (find_model("Pop"),), {})
    assert quick.config("--learner=sgd", "--train_batch_size=7", model=own)["learner"] == "sgd"
    with pytest.raises(PopDCLError, match="'epochs' has no effect here: Own is not trained by steps"):
        quick.config("--epochs=5", model=own)


def test_a_model_that_is_not_trained_has_one_epoch(quick, tmp_path, caplog):
    """One may be asked for; more are refused, and warned of in a file."""
    (tmp_path / "two.yaml").write_text("epochs: 2\n")
    assert quick.config("--epochs=1", model="ItemKNN")["epochs"] == 1
    with pytest.raises(PopDCLError, match=r"^command line: property 'epochs' has no effect here: ItemKNN is not"):
        quick.config("--epochs=2", model="ItemKNN")
    quick.config(model="ItemKNN", config_files=[tmp_path / "two.yaml"])
    assert "two.yaml: property 'epochs' has no effect here: ItemKNN is not trained by steps" in caplog.text
    assert len(lines(quick.trained(model="ItemKNN"))) == 1


def test_models_that_are_not_trained_are_named(quick):
    """Their loss is a new zero, whatever the batch."""
    folder = Path(recbole.__file__).parent / "model" / "general_recommender"
    found = set()
    for model in set(general_models()) - {"RaCT"}:
        body = (folder / f"{model.lower()}.py").read_text("utf-8").partition("def calculate_loss")[2].split("def ")[0]
        found |= {model} if re.search(r"return torch.nn.Parameter\(torch.zeros\(1\)\)", body) else set()
    file = quick.tmp_path / "shared.yaml"
    file.write_text("learner: sgd\n")
    assert len(found) > 5
    for model in set(general_models()) - {"RaCT"}:
        kept = quick.config(model=model, config_files=[file])["learner"]
        assert kept == ("adam" if model in found else "sgd"), model


def test_a_search_may_vary_the_encoder(quick, caplog):
    values = quick.config(model="SSM", config_dict={"encoder": "mf", "n_layers": 3}, shared="search.yaml")
    assert values["n_layers"] == 2
    assert "search.yaml: property 'n_layers' has no effect here: encoder mf" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("k_core", 3), ("split_seed", 0), ("split_ratio", [0.5, 0.1, 0.2, 0.2]), ("rm_dup_inter", "first"),
     ("val_interval", {"rating": "[4,inf)"}), ("user_inter_num_interval", "[9,inf)"),
     ("item_inter_num_interval", "[9,inf)")],
)  # fmt: skip
def test_split_files_are_not_filtered(name, value, quick, tmp_path, caplog):
    with pytest.raises(PopDCLError, match=f"^command line: property '{name}' has no effect here: the files of"):
        quick.data("--k_core=0", f"--{name}={value}", name="z") if name != "k_core" else quick.data(
            "--k_core=3", name="z"
        )
    file = tmp_path / "shared.yaml"
    file.write_text(yaml.safe_dump({name: value}))
    quick.data(f"--config_files={file}", name="z")
    assert f"{file}: property '{name}' has no effect here" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("load_col={'inter': ['user_id', 'item_id', 'raiting']}",
         "names 'raiting', but y.inter has no such column (did you mean 'rating'?)"),
        ("load_col={'inter': '*', 'itme': '*'}", "names 'itme', but y.itme does not exist (did you mean 'item'?)"),
        ("load_col={'inter': '*', 'emb': '*'}", "names 'emb', but y.emb is read with additional_feat_suffix alone"),
        ("load_col={'inter': '*', 'item': ['pric']}", "names 'pric', but y.item has no such column"),
        ("unload_col={'item': ['pric']}", "names 'pric', but y.item has no such column (did you mean 'price'?)"),
        ("unload_col={'item': ['item_id']}", "names 'item_id', which is always read"),
        ("unload_col={'net': ['x']}", "names 'net', but y.net does not exist"),
        ("unused_col={'item': ['price']}", "names 'item', but no file y.item is loaded"),
        ("unused_col={'inter': ['pric']}", "names 'pric', which is not loaded"),
        ("unused_col={'inter': ['user_id']}", "names 'user_id', which is always used"),
    ],
)  # fmt: skip
def test_columns_that_are_not_there(arguments, problem, quick, tmp_path, caplog):
    name, _, value = arguments.partition("=")
    plain = () if name == "load_col" else ("--load_col=None",) if name == "unload_col" else (EVERY_COLUMN,)
    with pytest.raises(PopDCLError) as raised:
        quick.data(*plain, f"--{arguments}", name="y")
    assert str(raised.value).startswith(f"command line: property '{name}' {problem}")
    file = tmp_path / "shared.yaml"
    file.write_text(yaml.safe_dump({name: parse_literal(value)}))
    quick.data(*plain, f"--config_files={file}", name="y")
    assert f"{file}: property '{name}' {problem}" in caplog.text


def test_columns_to_load_and_not_to_load(quick):
    with pytest.raises(
        PopDCLError, match=r"'unload_col' cannot be set for 'inter' together with .* add --load_col=None"
    ):
        quick.data("--unload_col={'inter': ['rating']}")


def test_the_columns_in_recboles_own_files_are_nobodys_mistake(quick, caplog):
    config = quick.config(name="ml-100k")
    assert config["load_col"] == {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    (quick.folder / "ml-100k").mkdir()
    text = "\n".join(["user_id:token\titem_id:token", *("\t".join(row.split("\t")[:2]) for row in ROWS[:200]), ""])
    (quick.folder / "ml-100k" / "ml-100k.inter").write_text(text)
    quick.data(name="ml-100k")
    assert caplog.messages == []


@pytest.mark.parametrize("name", sorted({*argument_list.dataset_arguments, *table()} & set(NAMES)))
@pytest.mark.parametrize("text", ["None", "~"])
def test_nothing_in_a_file_is_no_traceback(name, text, quick, tmp_path):
    """A file of RecBole's users has the text None where yaml has ~ or null."""
    file = tmp_path / "shared.yaml"
    file.write_text(f"{name}: {text}\n")
    with contextlib.suppress(PopDCLError):
        quick.trained(f"--config_files={file}", model="NeuMF")


@pytest.mark.parametrize("name", ["discretization", "load_col", "val_interval", "threshold", "rm_dup_inter"])
def test_the_text_none_in_a_file_is_nothing(name, quick, tmp_path):
    file = tmp_path / "shared.yaml"
    file.write_text(f"{name}: None\n")
    assert quick.config(config_files=[file])[name] is None


def test_models_that_read_a_field_are_named():
    """RecBole's models say themselves which fields of interactions they read."""
    folder = Path(recbole.__file__).parent / "model" / "general_recommender"
    texts = {model: (folder / f"{model.lower()}.py").read_text("utf-8") for model in general_models()}
    found = {
        what: {model for model, text in texts.items() if re.search(pattern, text)}
        for what, pattern in (("RATING_FIELD", "RATING_FIELD"), ("TIME_FIELD", r"TIME_FIELD|\.time_field"),
                              ("require_pow", "require_pow"))
    }  # fmt: skip
    assert found["RATING_FIELD"] == {"DMF"}
    assert found["TIME_FIELD"] == {"DiffRec"}  # and LDiffRec, which derives from it
    assert found["require_pow"] == {"SimpleX", "LightGCN"}  # of which the second is this package's own here
    assert not any(re.search(r"preload_weight|dataset\.(user|item)_feat", text) for text in texts.values())


def test_what_has_no_effect_is_not_listed():
    assert not {"transform", "save_dataset", "POSITION_FIELD"} & set(names_of(set(type(table()["seed"].stage))))
