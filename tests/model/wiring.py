"""A hand-made batch, and what a loss of it is written from: the raw training pairs and a model's learnt tables.

A model's case is a test decorated with ``wiring``, in test_wiring.py or beside the tests of the model's loss;
test_wiring.py asks for one of every model.

Ids of users and items, as well as their popularities, all differ, and each id of the batch is one of a user and of an
item. A look-up with the wrong id thus gives another number, and not an error, which would hide it.
"""

from __future__ import annotations

from functools import cached_property

import pytest
import torch

from recbole_popdcl.config.config import Config
from recbole_popdcl.config.models import find_model
from recbole_popdcl.model.base import InBatchRecommender

N_USERS, N_ITEMS, D = 8, 10, 6  # 0 is RecBole's padding
PAIRS = [
    (5, 4), (2, 1), (7, 9), (5, 2), (1, 4), (2, 8), (6, 3), (3, 2), (5, 7), (2, 4), (6, 4), (4, 3), (2, 2), (5, 6),
    (7, 4), (3, 4), (2, 3), (6, 6), (5, 1), (1, 9), (6, 2), (2, 5), (3, 7), (2, 9), (7, 7), (2, 7), (1, 3),
    (7, 8), (7, 2),
]  # fmt: skip
# A batch of training pairs. Users, items and negatives come more than once, items 3, 5 and 6 on both sides, others on
# one alone, and in the second row the item and its negative are equally popular.
USERS = [5, 2, 6, 5, 3, 1, 2]
ITEMS = [4, 1, 3, 6, 2, 4, 5]
NEGATIVES = [3, 6, 7, 3, 5, 6, 6]
B = len(USERS)
BATCH = {name: torch.tensor(ids) for name, ids in zip(("user_id", "item_id", "neg_item_id"), (USERS, ITEMS, NEGATIVES))}
USER_POPULARITY = [sum(u == user for u, _ in PAIRS) for user in range(N_USERS)]
POPULARITY = [sum(i == item for _, i in PAIRS) for item in range(N_ITEMS)]
REG_WEIGHT = 0.3
COMMON = {"embedding_size": D, "reg_weight": REG_WEIGHT, "n_layers": 2, "dataset": "hand-made"}
L2_FORMS = {"mf": "sum", "lightgcn": "half"}  # of each encoder, so that both are there


class TrainingSet:
    """What a model reads of RecBole's Dataset."""

    def __init__(self):
        users, items = torch.tensor(PAIRS).T
        self.inter_feat = {"user_id": users, "item_id": items}

    def num(self, field):
        return {"user_id": N_USERS, "item_id": N_ITEMS}[field]


class Hand:
    """A model at the beginning of an epoch, and what its loss is written from by hand.

    Attributes:
        model: in float64, every parameter known noise; losses written by hand read learnt tables from it, nothing else.
        p: its properties.
        epoch: the epoch, from 0.
        user_table, item_table: the encoder's embeddings of all users and items.
        u, i, j: the rows of them for the batch's users, items and negatives.
        false_negatives: bool [b, b], or None where they are not masked.
    """

    def __init__(self, name, encoder, *, epoch, properties):
        self.name, self.encoder, self.epoch, self.p = name, encoder, epoch, properties

    @cached_property
    def model(self):
        common = {name: value for name, value in COMMON.items() if name != "n_layers" or self.encoder != "mf"}
        properties = {**common, "encoder": self.encoder, "l2_form": L2_FORMS[self.encoder], **self.p}
        config = Config(self.name, config_dict=properties)
        model = config.model_class(config, TrainingSet()).double()
        fill_with_noise(model)
        with torch.no_grad():
            # the padding item would be the first in a ranking, were it not left out
            model.encoder.item_embedding.weight[0] = model.encoder.user_embedding.weight[2]
        if hasattr(model, "begin_epoch"):
            model.begin_epoch(self.epoch)
        return model

    @cached_property
    def layer0(self):
        encoder = self.model.encoder
        return tuple(table.weight.detach() for table in (encoder.user_embedding, encoder.item_embedding))

    @cached_property
    def tables(self):
        return propagated(*self.layer0) if self.encoder == "lightgcn" else self.layer0

    user_table = property(lambda self: self.tables[0])
    item_table = property(lambda self: self.tables[1])
    u = property(lambda self: self.user_table[USERS])
    i = property(lambda self: self.item_table[ITEMS])
    j = property(lambda self: self.item_table[NEGATIVES])

    @property
    def false_negatives(self):
        if self.p.get("false_negatives") != "mask":
            return None
        return torch.tensor([[k != m and (USERS[k], ITEMS[m]) in PAIRS for m in range(B)] for k in range(B)])

    def in_batch(self, loop, *names, **others):
        """A loop of by_hand.py on the batch, with the named properties and other arguments."""
        properties = {name: self.p[name] for name in names}
        return loop(self.u, self.i, **properties, **others, false_negatives=self.false_negatives)

    def squares(self, *blocks):
        """lambda times the L2 term of blocks of rows."""
        total = sum(row @ row for block in blocks for row in block)
        return REG_WEIGHT * total / B / (2 if L2_FORMS[self.encoder] == "half" else 1)

    def l2(self, *item_blocks):
        """lambda times the L2 term of the batch's users and blocks of items, on layer 0."""
        users, items = self.layer0
        return self.squares(users[USERS], *(items[block] for block in item_blocks))

    def expect(self, loss):
        """Assert that the model's loss of the batch is ``loss``, written by hand."""
        # what a model holds of the training set is rounded to float32
        torch.testing.assert_close(self.model.calculate_loss(BATCH).detach(), loss, rtol=1e-6, atol=1e-7)


def fill_with_noise(model):
    """Make every parameter known noise."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)


def propagated(users, items):
    """Mean of the layers 0, 1 and 2 of LightGCN, with a dense matrix."""
    mean = sum(layers(torch.cat([users, items]))) / 3
    return mean[:N_USERS], mean[N_USERS:]


def layers(nodes):
    """The layers 0, 1 and 2 of LightGCN of all users and then all items, with a dense matrix."""
    adjacency = torch.zeros(N_USERS + N_ITEMS, N_USERS + N_ITEMS, dtype=torch.float64)
    for u, i in PAIRS:
        weight = (USER_POPULARITY[u] * POPULARITY[i]) ** -0.5
        adjacency[u, N_USERS + i] = adjacency[N_USERS + i, u] = weight
    once = adjacency @ nodes
    return nodes, once, adjacency @ once


def wiring(model, *settings, epochs=(0,)):
    """Decorate a test of ``h``, a Hand of the model, that ends in ``h.expect(loss written by hand)``.

    It runs for each of the settings (properties) in each of the epochs, with both encoders, and where its negatives are
    those of the batch, with and without a mask.
    """
    masks = [{}]
    if issubclass(find_model(model), InBatchRecommender):
        masks.append({"false_negatives": "mask"})
    hands = [
        Hand(model, encoder, epoch=epoch, properties={**properties, **mask})
        for properties in settings
        for epoch in epochs
        for mask in masks
        for encoder in L2_FORMS
    ]
    return pytest.mark.parametrize("h", hands, ids=[f"{model}-{k}-{hand.encoder}" for k, hand in enumerate(hands)])
