"""Training stops at the very validation that ``stopping_step`` says, whatever sequence of scores the ranker gives."""

from __future__ import annotations

import json

import pytest

from recbole_popdcl.config.config import Config
from recbole_popdcl.data.loading import load_data
from recbole_popdcl.experiment.run import prepare_trainer, train
from recbole_popdcl.training.checkpoint import load_checkpoint


class Scores:
    """A ranker that gives one score after the other."""

    def __init__(self, scores):
        self.scores, self.asked = scores, 0

    def rank(self, model, names=None, **_):
        self.asked += 1
        return {"valid/recall@20": self.scores[self.asked - 1]}


def prepared(toy, folder, scores, model="SSM", **properties):
    """A trainer that is given scores, its configuration and its data."""
    properties = {"encoder": "mf", "train_batch_size": 4096, "epochs": 40, **properties}  # one step an epoch
    config = Config(model, config_dict={**toy, **properties})
    data = load_data(config, own_batches=True)
    folder.mkdir(exist_ok=True)
    trainer = prepare_trainer(config, data, run_dir=folder)
    trainer.ranker = Scores(scores)
    return trainer, config, data


def trained(toy, folder, scores, resume=False, **properties):
    """The trainer after training, its ranker, and the epochs in metrics.jsonl."""
    trainer, config, data = prepared(toy, folder, scores, **properties)
    if resume:
        trainer.resume(data.train)
    train(trainer, config, data=data)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return trainer, trainer.ranker, [line["epoch"] for line in lines]


WORSE = [0.01 * k for k in range(20, 0, -1)]
# Epochs count from 0. A run stops at the first validation that is number stopping_step + 1 in a row without gain.
CASES = [
    # scores of the validations, stopping_step, eval_step, last epoch, best epoch
    ([0.5, *WORSE], 0, 1, 1, 0),
    ([0.5, *WORSE], 1, 1, 2, 0),
    ([0.5, *WORSE], 5, 1, 6, 0),
    ([0.1, 0.2, 0.3, *WORSE], 2, 1, 5, 2),
    ([0.3, 0.1, 0.1, 0.4, 0.2, 0.2, 0.2, 0.9], 2, 1, 6, 3),  # a gain at the last chance, and one too late
    (
        [0.3, 0.1, 0.5, 0.1, 0.6, 0.1, 0.55, *WORSE],
        1,
        1,
        6,
        4,
    ),  # the count starts anew; better than the last is no gain
    ([0.5, *WORSE], 1, 3, 8, 2),  # validations after epochs 2, 5 and 8
    ([0.1, 0.4, *WORSE], 2, 2, 9, 3),
    ([0.2, *[0.5] * 20], 2, 1, 4, 1),  # on a plateau the first epoch is kept, and the run ends
    ([0.0] * 20, 3, 1, 4, 0),
]


@pytest.mark.parametrize(("scores", "stopping_step", "eval_step", "last", "best"), CASES)
def test_training_stops_at_the_validation_that_stopping_step_says(
    toy, tmp_path, scores, stopping_step, eval_step, last, best
):
    properties = {"stopping_step": stopping_step, "eval_step": eval_step}
    trainer, ranker, epochs = trained(toy, tmp_path / "r", scores, **properties)
    assert epochs == list(range(last + 1))
    assert ranker.asked == (last + 1) // eval_step
    score = scores[(best + 1) // eval_step - 1]
    assert (trainer.best_epoch, trainer.best_valid_score) == (best, score)
    assert trainer.best_valid_result == {"valid/recall@20": score}
    assert load_checkpoint(tmp_path / "r" / "checkpoint.pt")["epoch"] == best


def test_a_run_that_gains_to_the_end_has_all_its_epochs(toy, tmp_path):
    rising = [0.1 * k for k in range(1, 9)]
    trainer, _, epochs = trained(toy, tmp_path / "r", rising, stopping_step=0, epochs=8)
    assert (epochs, trainer.best_epoch) == (list(range(8)), 7)


def test_the_best_epoch_is_known_without_checkpoints(toy, tmp_path):
    trainer, _, data = prepared(toy, tmp_path / "r", [0.1, 0.3, *WORSE], stopping_step=1)
    assert trainer.fit(data.train, saved=False) == (0.3, {"valid/recall@20": 0.3})
    assert (trainer.best_epoch, max(trainer.train_loss_dict)) == (1, 3)
    assert not (tmp_path / "r" / "checkpoint.pt").exists()


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_resumed_run_stops_where_the_whole_one_does(toy, tmp_path, cut):
    """0.5 in epoch 1 is the best; three without gain are the epochs 2, 3 and 4, on whatever side of the cut."""
    scores = [0.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.9]
    trained(toy, tmp_path / "r", scores, stopping_step=2, epochs=cut)
    trainer, ranker, epochs = trained(toy, tmp_path / "r", scores[cut:], resume=True, stopping_step=2)
    assert epochs == [0, 1, 2, 3, 4]
    assert ranker.asked == 5 - cut
    assert (trainer.best_epoch, trainer.best_valid_score) == (1, 0.5)


def test_a_stopped_run_goes_on_where_it_may(toy, tmp_path):
    scores = [0.5, 0.4, 0.3, 0.2, 0.6, *WORSE]
    trained(toy, tmp_path / "r", scores, stopping_step=1)
    trainer, _, epochs = trained(toy, tmp_path / "r", scores[3:], resume=True, stopping_step=1)
    assert (epochs, trainer.best_epoch) == ([0, 1, 2], 0)
    trainer, _, epochs = trained(toy, tmp_path / "r", scores[3:], resume=True, stopping_step=4)
    assert (epochs[-1], trainer.best_epoch) == (9, 4)


def test_epochs_of_the_warm_up_do_not_count(toy, tmp_path):
    """BC loss is validated from epoch 3 on: 3 is the best, 4 and 5 bring nothing."""
    trainer, ranker, epochs = trained(
        toy, tmp_path / "r", [0.5, *WORSE], model="BCLoss", warm_up_epochs=3, stopping_step=1
    )
    assert epochs == list(range(6))
    assert (ranker.asked, trainer.best_epoch) == (3, 3)


@pytest.mark.parametrize(("model", "omega_plus", "warned"), [("DCL", 0.3, True), ("HCL", 0.3, True), ("DCL", 0, False)])
def test_negatives_without_a_gradient_are_told_at_each_validation(toy, tmp_path, caplog, model, omega_plus, warned):
    properties = {"omega_plus": omega_plus, "temperature": 0.1, "epochs": 4, "eval_step": 2, "learning_rate": 0.05}
    properties |= {"concentration": 0.0} if model == "HCL" else {}
    trainer, _, _ = trained(toy, tmp_path / "r", [0.1, 0.2], model=model, **properties)
    lines = [line for line in caplog.messages if "at the floor of the debiased estimate" in line]
    assert len(lines) == (2 if warned else 0)
    if warned:
        batch = trainer._last_batch
        share = trainer.model.share_at_floor(batch["user_id"], batch["item_id"])
        assert lines[-1].startswith(f"{share:.0%} of the pairs of a batch")


class ByExponent:
    """A ranker whose score is given for each epoch and exponent; epochs are told by the model's exponents asked."""

    def __init__(self, table):
        self.table, self.asked, self.epoch = table, [], -1

    def rank(self, model, names=None, **_):
        self.asked.append((self.epoch, model.score_norm_exponent))
        return {"valid/recall@20": self.table[self.epoch].get(model.score_norm_exponent, 0.0)}


def test_the_exponent_is_chosen_at_each_new_best(toy, tmp_path, monkeypatch):
    table = [
        {0.0: 0.1, 0.5: 0.3, 1.0: 0.3},  # 0.5 is the first of the best
        {0.0: 0.9, 0.5: 0.3},  # no new best at 0.5: nothing else is tried
        {0.5: 0.4, 0.75: 0.6},
        {0.75: 0.5},
    ]
    trainer, config, data = prepared(toy, tmp_path / "r", [], epochs=4, eval_step=1, score_norm_exponent="auto")
    ranker = trainer.ranker = ByExponent(table)
    epoch = type(trainer)._train_epoch

    def counted(self, train_data, epoch_idx, *more, **options):
        ranker.epoch = epoch_idx
        return epoch(self, train_data, epoch_idx, *more, **options)

    monkeypatch.setattr(type(trainer), "_train_epoch", counted)
    train(trainer, config, data=data)
    asked = [[exponent for at, exponent in ranker.asked if at == k] for k in range(4)]
    assert asked == [[0.0, 0.25, 0.5, 0.75, 1.0], [0.5], [0.5, 0.0, 0.25, 0.75, 1.0], [0.75]]
    assert (trainer.best_epoch, trainer.best_valid_score) == (2, 0.6)
    assert load_checkpoint(tmp_path / "r" / "checkpoint.pt")["chosen"] == {"score_norm_exponent": 0.75}
    again, _, _ = prepared(toy, tmp_path / "r", [], epochs=5, eval_step=1, score_norm_exponent="auto")
    again.resume(data.train)
    assert again.model.score_norm_exponent == 0.75
