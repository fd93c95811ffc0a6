"""What every model of this package shares: encoder, L2 term, and ranking scores."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import nn

from recbole_popdcl.compute.distributed import share_encoding
from recbole_popdcl.compute.products import ProductsWith
from recbole_popdcl.config.kinds import Choice, Either, Flag, Optional, Real, Whole
from recbole_popdcl.config.properties import AUTO, Property, Stage
from recbole_popdcl.data.pairs import training_pairs
from recbole_popdcl.encoder.base import build_encoder, encoder_names
from recbole_popdcl.loss.l2 import l2_term

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of which score_norm_exponent is one, where it is auto


def init_table(weight: torch.Tensor, how: str) -> None:
    """Initialise a table that is not the encoder's in place.

    Args:
        weight: [n, d].
        how: ``xavier`` (uniform, as the encoder's tables) or ``xavier_normal`` (released code); Glorot and Bengio 2010.
    """
    (nn.init.xavier_uniform_ if how == "xavier" else nn.init.xavier_normal_)(weight)


class EncoderRecommender(GeneralRecommender):
    """An encoder with a loss; a model implements ``calculate_loss``.

    A model declares the properties that its property file adds, in ``properties``, and the row that it has in the
    tables of the PopDCL paper, in ``paper_row``. The lines "Loss:" and "Source:" of its docstring are its row in
    docs/models.md.

    A model may also set ``warm_up_epochs``, before which nothing is validated; implement ``begin_epoch(epoch)``, called
    before each epoch, counted from 0; ``warning(interaction)``, what to log of the last batch after a validation, or
    None; and ``parameter_groups()`` for learning rates of its own.

    Ranking scores are ⟨e_u, e_i⟩ / |e_i|^g with g = ``score_norm_exponent``, an attribute that may be set between
    evaluations: g = 1 ranks as the cosine does, g = 0 as the inner product; the default of each model is what its
    authors do. With ``auto`` the trainer sets it to one of EXPONENTS, and the checkpoint has it. Such a normalisation
    after training is that of TTEN (Kim et al., CIKM 2023); r-AdjNorm (Zhao et al., SIGIR 2022) has it in the encoder.

    Args:
        config: reads the encoder's properties, reg_weight, l2_form, l2_on and score_norm_exponent.
        dataset: the training set, a RecBole Dataset.

    Attributes:
        exponents: values of ``score_norm_exponent`` to choose from; none where it is given.
        train_pairs: the training pairs, which know the degree of every user and item.
        train_users, train_items: their internal ids in the order of the data, arrays [N].
    """

    input_type = InputType.PAIRWISE
    paper_row: ClassVar[int | None] = None
    properties: ClassVar[tuple[Property, ...]] = (
        Property("encoder", Choice(encoder_names)),
        Property("reg_weight", Real(0)),
        Property("l2_form", Choice(("sum", "half"))),
        Property("l2_on", Choice(("layer0", "encoded"))),
        Property("drop_last_batch", Flag()),
        Property("score_norm_exponent", Either((Real(), Choice((AUTO,)))), Stage.SCORING),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.train_pairs = training_pairs(dataset, user_field=self.USER_ID, item_field=self.ITEM_ID)
        self.train_users, self.train_items = self.train_pairs.rows
        self.encoder = build_encoder(
            config, users=self.train_users, items=self.train_items, n_users=self.n_users, n_items=self.n_items
        )
        share_encoding(self.encoder)
        self.reg_weight, self.l2_form, self.l2_on = config["reg_weight"], config["l2_form"], config["l2_on"]
        self.exponents = EXPONENTS if config["score_norm_exponent"] == AUTO else ()
        self.score_norm_exponent = self.exponents[0] if self.exponents else config["score_norm_exponent"]
        self._encoded: tuple[torch.Tensor, torch.Tensor] | None = None
        self._products: tuple[float, ProductsWith] | None = None

    def train(self, mode: bool = True) -> EncoderRecommender:
        """Set the mode; embeddings kept for ranking are dropped, as the weights may have changed."""
        self._encoded = self._products = None
        return super().train(mode)

    def chosen(self) -> dict[str, float]:
        """Return what was chosen in training of properties that are ``auto``, {property: value}."""
        return {"score_norm_exponent": self.score_norm_exponent} if self.exponents else {}

    def item_popularity(self) -> np.ndarray:
        """Return the training degree of each item [n_items]."""
        return self.train_pairs.item_popularity

    @staticmethod
    def balanced_sampling(config: Config) -> dict[str, float] | None:
        """Return the arguments of BalancedPairSampler, None for negatives that do not look at popularity."""
        return None

    def register_statistic(self, name: str, values: np.ndarray) -> None:
        """Register what is worked out from the training set as a float32 buffer, which no checkpoint needs."""
        self.register_buffer(name, torch.from_numpy(np.asarray(values)).float(), persistent=False)

    def l2(
        self,
        users: torch.Tensor,
        *items: torch.Tensor,
        others: tuple[torch.Tensor, ...] = (),
        item_weight: float = 1.0,
    ) -> torch.Tensor:
        """Return lambda times the L2 term.

        A gradient of the rows alone on the CPU, for a loss that also trains the encoder.

        Args:
            users: internal ids [b]; the term is taken on their layer-0 embeddings, or with ``l2_on: encoded`` on what
                the encoder makes of them.
            items: one or more blocks of internal ids [b], likewise.
            others: further embeddings [m, d].
            item_weight: how often the squares of the items count.
        """
        if not self.reg_weight:
            return torch.zeros((), device=users.device)
        embed = self.encoder if self.l2_on == "encoded" else self.encoder.layer0
        tables = embed(users, torch.cat(items))
        if item_weight != 1:
            tables = (tables[0], tables[1] * item_weight**0.5)
        return self.reg_weight * l2_term((*tables, *others), n_pairs=len(users), l2_form=self.l2_form)

    def predict(self, interaction: Interaction) -> torch.Tensor:
        """Return the ranking scores of the given pairs [b]."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        encoded_users, encoded_items = self.encoded_tables()
        vectors = encoded_users[users]
        chosen = self._normalised(self._item_table(encoded_items)[items])
        return self._final_scores((vectors * chosen).sum(dim=1), vectors, items)

    def full_sort_predict(self, interaction: Interaction) -> torch.Tensor:
        """Return the ranking scores of the given users for all items, [b, n_items], without a gradient."""
        return self.score_users(self.encoded_tables()[0][interaction[self.USER_ID]])

    def score_users(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the ranking scores of users for all items, [b, n_items], without a gradient.

        Args:
            vectors: [b, d], as ``encoded_tables`` has them, or of users who were not there in training.
        """
        return self._final_scores(self._products_with_items()(vectors), vectors, None)

    def inner_product_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors of all users [n_users, d'] and items [n_items, d'] whose inner products rank as the scores do.

        Those of the encoder, the items' divided by |e_i|^g. A model whose score is another function of them puts it
        into its vectors, with one more dimension or so, or says that it cannot.

        Raises:
            PopDCLError: no inner product ranks as this model does.
        """
        users, items = self.encoded_tables()
        return users, self._normalised(self._item_table(items))

    def score_tables(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return vectors of all users [n_users, d] and items [n_items, d] whose inner products are the ranking scores.

        None for a model that scores in another way, which is one that overrides a method of scoring.
        """
        scoring = ("full_sort_predict", "score_users", "_final_scores")
        is_own = any(getattr(type(self), name) is not getattr(EncoderRecommender, name) for name in scoring)
        return None if is_own else EncoderRecommender.inner_product_tables(self)

    def encoded_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings of all users [n_users, d] and items [n_items, d]; kept while not in training."""
        if self.training or self._encoded is None:
            self._encoded = self.encoder.tables()
        return self._encoded

    def _item_table(self, items: torch.Tensor) -> torch.Tensor:
        """What items are ranked by, [n_items, d]: the encoded ``items``, unless a model has other embeddings."""
        return items

    def _final_scores(self, scores: torch.Tensor, users: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
        """Ranking scores from ⟨e_u, e_i⟩ / |e_i|^g: of pairs [b], or (no items) of users for all items [b, n_items].

        ``users`` are the embeddings of the users [b, d], ``items`` the ids of the items [b]."""
        return scores

    def _normalised(self, items: torch.Tensor) -> torch.Tensor:
        """Items [n, d] divided by |e_i|^g."""
        if self.score_norm_exponent == 0:
            return items
        norms = items.norm(dim=1, keepdim=True)
        return items / torch.where(norms > 0, norms.clamp(min=1e-12) ** self.score_norm_exponent, 1.0)

    def _products_with_items(self) -> ProductsWith:
        """Return the products with what items are ranked by; kept while not in training."""
        exponent = self.score_norm_exponent
        if self.training or self._products is None or self._products[0] != exponent:
            self._products = None  # its memory is free before the next one is made
            items = self._normalised(self._item_table(self.encoded_tables()[1]))
            self._products = (exponent, ProductsWith(items))
        return self._products[1]


class InBatchRecommender(EncoderRecommender):
    """An encoder with a loss whose negatives are the other items of the batch, trained on the cosine."""

    properties: ClassVar[tuple[Property, ...]] = (
        Property("false_negatives", Choice(("keep", "mask"))),
        Property("in_batch_negatives", Optional(Whole(1))),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.masks_false_negatives = config["false_negatives"] == "mask"
        self.most_negatives = config["in_batch_negatives"]
        if self.masks_false_negatives:
            self.train_pairs.on(config["device"])  # copied here, as a training step waits for no copy

    def in_batch_negatives(self, users: torch.Tensor, items: torch.Tensor) -> dict[str, Any]:
        """Return the arguments of a loss that say which items of a batch of pairs [b] are negatives of which pair:
        ``false_negatives``, as below, and ``most_negatives``."""
        return {"false_negatives": self.false_negatives(users, items), "most_negatives": self.most_negatives}

    def false_negatives(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor | None:
        """Return bool [b, b], True where item j of the batch is no negative of pair k, for a batch of pairs [b].

        With ``false_negatives: mask`` those are the training items of the pair's user, the pair's own item in other
        pairs among them; with ``keep`` (the paper) there are none, and the result is None.
        """
        return self.train_pairs.of_each_other(users, items) if self.masks_false_negatives else None


class PairwiseRecommender(EncoderRecommender):
    """An encoder with a loss on a positive and a sampled negative item, trained and ranked on inner products."""

    def encode_triples(self, interaction: Interaction) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the embeddings [b, d] of ``user_id``, ``item_id`` and ``neg_item_id`` of a batch."""
        positives, negatives = interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID]
        users, items = self.encoder(interaction[self.USER_ID], torch.cat([positives, negatives]))
        positive, negative = items.chunk(2)
        return users, positive, negative
