"""What every model of this package shares: encoder, L2 term, and ranking scores."""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType

from recbole_popdcl.encoder import build_encoder
from recbole_popdcl.loss.l2 import l2_term


class EncoderRecommender(GeneralRecommender):
    """An encoder with a loss; a model implements ``calculate_loss``.

    Ranking scores are <e_u, e_i> / |e_i|^g with g = ``score_norm_exponent``, an attribute that may be set between
    evaluations: g = 1 ranks as the cosine does, g = 0 as the inner product.

    Args:
        config: reads the encoder's properties, reg_weight, l2_form and score_norm_exponent.
        dataset: the training set, a RecBole Dataset.
    """

    input_type = InputType.PAIRWISE

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        users = dataset.inter_feat[self.USER_ID].numpy()
        items = dataset.inter_feat[self.ITEM_ID].numpy()
        self.encoder = build_encoder(config, users, items, self.n_users, self.n_items)
        self.reg_weight, self.l2_form = config["reg_weight"], config["l2_form"]
        self.score_norm_exponent = config["score_norm_exponent"]
        self._tables = None

    def train(self, mode: bool = True):
        """Set the mode; embeddings kept for ranking are dropped, as the weights may have changed."""
        self._tables = None
        return super().train(mode)

    def regularized(self, loss: torch.Tensor, users: torch.Tensor, *items: torch.Tensor) -> torch.Tensor:
        """Add lambda times the L2 term on the layer-0 embeddings of ``users`` and each of ``items``, all [b]."""
        if not self.reg_weight:
            return loss
        user_rows, item_rows = self.encoder.layer0(users, torch.cat(items))
        return loss + self.reg_weight * l2_term((user_rows, item_rows), len(users), self.l2_form)

    def predict(self, interaction) -> torch.Tensor:
        """Return the ranking scores of the given pairs [b]."""
        users, items = self._ranking_tables()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Return the ranking scores of the given users for all items, [b, n_items]."""
        users, items = self._ranking_tables()
        return users[interaction[self.USER_ID]] @ items.T

    def _ranking_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        exponent = self.score_norm_exponent
        if self.training or self._tables is None or self._tables[0] != exponent:
            users, items = self.encoder.tables()
            norms = items.norm(dim=1, keepdim=True)
            scaled = torch.where(norms > 0, items / norms.clamp(min=1e-12) ** exponent, items)
            self._tables = (exponent, users, scaled)
        return self._tables[1:]
