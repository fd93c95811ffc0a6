"""PDA: PD with popularity put back in when ranking."""

from __future__ import annotations

import torch

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.model.pd import PD


class PDA(PD):
    """PDA (Zhang et al., SIGIR 2021): trained as PD, ranked by the score times m_i^gamma.

    Loss: as PD; ranked by g(s(u,i)) m_i^γ
    Source: Zhang et al., SIGIR 2021
    """

    def inner_product_tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Raise: the popularity of an item is a factor of ELU + 1 of the inner product, which is no inner product."""
        raise PopDCLError("PDA ranks by (ELU(s) + 1) m_i^γ, which is no inner product of a user and an item")

    def _final_scores(self, scores: torch.Tensor, users: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
        popularity = self.popularity if items is None else self.popularity[items]
        return super()._final_scores(scores, users, items) * popularity
