"""DICE: interest and conformity in separate embeddings."""

from __future__ import annotations

import torch
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction

from recbole_popdcl.config.kinds import Choice, Real, Whole
from recbole_popdcl.config.properties import Property
from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.loss.dice import DISCREPANCIES, dice_losses
from recbole_popdcl.model.base import PairwiseRecommender


class DICE(PairwiseRecommender):
    """DICE (Zheng et al., WWW 2021) on any encoder.

    The first half of ``embedding_size`` is interest, the second conformity: propagation does not mix dimensions, so
    that one encoder is two. Ranking is by both together, which is the sum of their scores.

    Loss: −log σ(Δ_int + Δ_con) + a L_int + b L_con − d discrepancy, Δ = s(u,i) − s(u,j) in each half of the
        embedding
    Source: Zheng et al., WWW 2021
    """

    properties = (
        Property("interest_weight", Real(0)),
        Property("conformity_weight", Real(0)),
        Property("loss_decay", Real(0, 1)),
        Property("discrepancy", Choice(tuple(DISCREPANCIES))),
        Property("popularity_margin", Real(0)),
        Property("popularity_pool", Whole(1)),
        Property("margin_decay", Real(0, 1)),
    )

    def __init__(self, config: Config, dataset: Dataset) -> None:
        if config["embedding_size"] % 2:
            raise PopDCLError("property 'embedding_size' must be even for DICE: half is interest, half conformity")
        super().__init__(config, dataset)
        if self.encoder.dimension != config["embedding_size"]:
            raise PopDCLError(
                f"property 'encoder' cannot be {config['encoder']} for DICE: it turns {config['embedding_size']} "
                f"dimensions into {self.encoder.dimension}, whose halves are not interest and conformity"
            )
        self.register_statistic("popularity", self.item_popularity())
        self.weights = (config["interest_weight"], config["conformity_weight"])
        self.weight_decay_by_epoch = config["loss_decay"]
        self.discrepancy, self.discrepancy_weight = DISCREPANCIES[config["discrepancy"]], config["discrepancy_weight"]
        self.begin_epoch(0)

    @staticmethod
    def balanced_sampling(config: Config) -> dict[str, float] | None:
        if config["negative_sampling"] != "balanced":
            return None
        return {
            "margin": config["popularity_margin"],
            "lower_share": 0.5,  # the authors' code: less than half as popular
            "margin_decay": config["margin_decay"],
            "pool": config["popularity_pool"],
        }

    def begin_epoch(self, epoch: int) -> None:
        """Set the weights of the interest and the conformity loss in an epoch, counted from 0."""
        self.interest_weight, self.conformity_weight = (
            weight * self.weight_decay_by_epoch**epoch for weight in self.weights
        )

    def calculate_loss(self, interaction: Interaction) -> torch.Tensor:
        """Return the loss plus L2 over a batch with ``user_id``, ``item_id`` and ``neg_item_id``, all int64 [b]."""
        users, positives, negatives = (interaction[field] for field in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        encoded = self.encode_triples(interaction)
        more_popular = self.popularity[negatives] > self.popularity[positives]
        click, interest, conformity = dice_losses(*encoded, more_popular=more_popular)
        loss = click + self.interest_weight * interest + self.conformity_weight * conformity
        distance = self._discrepancy(users, encoded[0], self.n_users) + self._discrepancy(
            torch.cat([positives, negatives]), torch.cat(encoded[1:]), self.n_items
        )
        return loss - self.discrepancy_weight * distance + self.l2(users, positives, negatives)

    def _discrepancy(self, ids: torch.Tensor, rows: torch.Tensor, n_ids: int) -> torch.Tensor:
        """Discrepancy of interest and conformity over the distinct ids.

        Those are weighted instead of taken out: how many there are is known to the device alone.

        Args:
            ids: int64 [n], below ``n_ids``.
            rows: their embeddings [n, 2 d], equal ones for equal ids.
            n_ids: number of ids there are.
        """
        place = torch.arange(len(ids), device=ids.device)
        first = ids.new_full((n_ids,), len(ids)).scatter_reduce_(0, ids, place, "amin")
        interest, conformity = rows.chunk(2, dim=1)
        return self.discrepancy(interest, conformity, weights=first[ids] == place)
