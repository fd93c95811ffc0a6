"""Training batches of pairs, with negative items where the loss asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_popdcl.compute.distributed import own_pairs
from recbole_popdcl.config.config import Config
from recbole_popdcl.data.dataset import SplitDataset
from recbole_popdcl.data.sampler import BalancedPairSampler, NegativeSampler
from recbole_popdcl.errors import PopDCLError


class PairLoader:
    """Batches of training pairs, with negative items where the model's loss asks for them.

    One pass is one epoch. With ``epoch_sampling: pairs`` every training pair comes once, in random order. With
    ``users`` an epoch is N draws as in the released code of PopDCL: the users in turn (a random order of the numbers
    0..N-1 modulo the users with training items) and one random training item of each.

    Pairs lie, and are drawn, on the device of the run; a GPU has random numbers of its own.

    A batch is an Interaction with ``user_id``, ``item_id`` and, where negatives are drawn, ``neg_item_id``, int64 [b].

    Args:
        config: reads epoch_sampling, train_batch_size, drop_last_batch, train_neg_sample_args, shuffle, seed and
            device.
        dataset: the training set.
    """

    def __init__(self, config: Config, dataset: SplitDataset) -> None:
        self.config = config
        self._dataset = self.dataset = dataset
        self.shuffle = config["shuffle"]
        self.device = config["device"]
        self.generator = torch.Generator(self.device).manual_seed(config["seed"])
        pairs = dataset.pairs()
        users, items = pairs.rows
        order = np.argsort(users, kind="stable")  # of a user in the order of the file, which the draws follow
        distinct = np.flatnonzero(pairs.user_popularity)
        counts = pairs.user_popularity[distinct]
        self._users, self._items, self._distinct_users, self._counts, self._starts = (
            torch.from_numpy(values).to(self.device)
            for values in (users[order], items[order], distinct, counts, np.cumsum(counts) - counts)
        )
        negatives = config["train_neg_sample_args"]
        self._n_negatives = 0 if negatives["distribution"] == "none" else negatives["sample_num"]
        if negatives.get("dynamic"):
            raise PopDCLError("property 'train_neg_sample_args': dynamic negatives work with RecBole's own models only")
        self._sampler = build_sampler(config, dataset, device=self.device) if self._n_negatives else None

    def begin_epoch(self, epoch: int) -> None:
        """Tell a sampler that changes with the epoch, counted from 0, which one begins."""
        if isinstance(self._sampler, BalancedPairSampler):
            self._sampler.begin_epoch(epoch)

    def __len__(self) -> int:
        whole, left_over = divmod(len(self._users), self.config["train_batch_size"])
        drop = self.config["drop_last_batch"] and whole  # a single smaller batch is all there is
        return whole + bool(left_over and not drop)

    def __iter__(self) -> Iterator[Interaction]:
        users, items = self._epoch()
        size = self.config["train_batch_size"]
        for start in range(0, len(self) * size, size):
            yield self._batch(users[start : start + size], items[start : start + size])

    def _epoch(self) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(self._users)
        order = torch.arange(n, device=self.device)
        if self.shuffle:
            order = torch.randperm(n, generator=self.generator, device=self.device)
        if self.config["epoch_sampling"] == "pairs":
            return self._users[order], self._items[order]
        turn = order % len(self._distinct_users)
        uniform = torch.rand(n, generator=self.generator, dtype=torch.float64, device=self.device)
        place = torch.minimum((uniform * self._counts[turn]).long(), self._counts[turn] - 1)
        return self._distinct_users[turn], self._items[self._starts[turn] + place]

    def _batch(self, users: torch.Tensor, items: torch.Tensor) -> Interaction:
        user_field, item_field = self._dataset.uid_field, self._dataset.iid_field
        columns = [users, items]
        if self._sampler:
            negatives = self._sampler.sample_by_user_ids(users, items, self._n_negatives)
            columns = [users.repeat(self._n_negatives), items.repeat(self._n_negatives), negatives]
        fields = (user_field, item_field, self.config["NEG_PREFIX"] + item_field)
        return Interaction(dict(zip(fields, own_pairs(*columns))))


def batches_state(loader: Any) -> dict[str, torch.Tensor]:
    """Return the states of a loader's random generators (PairLoader's or RecBole's), for a checkpoint."""
    state = {"order": loader.generator.get_state()}
    if isinstance(loader._sampler, NegativeSampler):
        state["negatives"] = loader._sampler.generator.get_state()
    return state


def set_batches_state(loader: Any, state: dict[str, torch.Tensor]) -> None:
    """Let ``loader`` go on where ``batches_state`` was taken.

    Raises:
        ValueError: it was taken on another kind of device, with random numbers of another kind.
    """
    if state["order"].shape != loader.generator.get_state().shape:
        raise ValueError("its batches were drawn on another kind of device; set use_gpu as it was")
    loader.generator.set_state(state["order"].cpu())
    if isinstance(loader._sampler, NegativeSampler):
        loader._sampler.generator.set_state(state["negatives"].cpu())


def build_sampler(config: Config, dataset: SplitDataset, *, device: torch.device | str = "cpu") -> NegativeSampler:
    """Return the sampler that ``negative_sampling`` and ``train_neg_sample_args`` ask for, drawing on ``device``."""
    negatives, seed = config["train_neg_sample_args"], config["seed"] + 1
    balanced = getattr(config.model_class, "balanced_sampling", None)  # RecBole's models have no such rule
    rule = balanced(config) if balanced else None
    if rule is not None:
        return BalancedPairSampler(dataset.pairs(), seed=seed, device=device, **rule)
    return NegativeSampler(
        dataset.pairs(), distribution=negatives["distribution"], alpha=negatives["alpha"], seed=seed, device=device
    )
