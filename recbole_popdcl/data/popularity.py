"""Popularity statistics of the training set, computed once: degrees, P(i not in N_u), omega+.

Guards, all of them for data on which the paper's formulas are not defined:

* omega+(u) of Eq. 8 reaches or passes 1 on dense data (users who took most of the popular items). Then
  omega- = 1 - omega+ is zero or negative and Eq. 9 and 10 lose their meaning, so omega+ is held at ``omega_max`` < 1.
* A user without training items has no popularity mass: omega+ = 0 and the divisor of Eq. 3 is 1. Such a user is in no
  training batch, so neither value enters a loss.
* An item without training interactions has popularity 0, hence P = 0, and stands at the end of the tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_popdcl.data.pairs import Pairs


@dataclass(frozen=True, kw_only=True)
class PopularityStatistics:
    """Popularity of users and items in the training set; index 0 is RecBole's padding.

    Attributes:
        user_popularity: pop(u), training degree, int64 [n_users].
        item_popularity: pop(i), training degree, int64 [n_items].
        user_mass: sum of pop(i) over the user's training items, int64 [n_users].
        omega_plus: Eq. 8 held in [0, omega_max], float64 [n_users].
        n_held: number of users whose omega+ was above omega_max.

    Examples:
        >>> import numpy as np
        >>> pairs = Pairs(np.array([1, 1, 2]), np.array([1, 2, 1]), n_users=3, n_items=3)
        >>> statistics = PopularityStatistics.from_pairs(pairs)
        >>> statistics.item_popularity.tolist()
        [0, 2, 1]
        >>> statistics.not_chosen_probability(np.array([1]), np.array([1])).round(3).tolist()  # 2 / (2 + 1)
        [0.667]
    """

    user_popularity: np.ndarray
    item_popularity: np.ndarray
    user_mass: np.ndarray
    omega_plus: np.ndarray
    n_held: int

    @classmethod
    def from_pairs(
        cls,
        pairs: Pairs,
        *,
        omega_max: float = 0.9,
        leave_one_out: bool = False,
    ) -> PopularityStatistics:
        """Compute the statistics of training pairs.

        Args:
            pairs: the training pairs; repeated rows count as often as they come.
            omega_max: upper bound of omega+, in (0, 1).
            leave_one_out: False: omega+(u) = sum pop / N (Eq. 8); True: (sum pop - 1) / (N - 1), the released code.
        """
        users, items = pairs.rows
        user_popularity, item_popularity = pairs.user_popularity, pairs.item_popularity
        mass = np.bincount(users, weights=item_popularity[items], minlength=pairs.n_users)
        n = len(users)
        omega = (mass - 1) / max(n - 1, 1) if leave_one_out else mass / max(n, 1)
        omega = np.where(user_popularity > 0, omega, 0.0)
        return cls(
            user_popularity=user_popularity,
            item_popularity=item_popularity,
            user_mass=mass.astype(np.int64),
            omega_plus=np.clip(omega, 0.0, omega_max),
            n_held=int((omega > omega_max).sum()),
        )

    def inverse_mass(self) -> np.ndarray:
        """Return 1 / sum of pop(i) over N_u, float64 [n_users]; 1 for a user without training items."""
        return 1.0 / np.maximum(self.user_mass, 1)

    def not_chosen_probability(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return P(i not in N_u) of Eq. 3 for pairs, float64 in [0, 1] for training pairs, same shape as ``users``."""
        return self.item_popularity[items] * self.inverse_mass()[users]


def clipped_inverse_propensity(popularity: np.ndarray) -> np.ndarray:
    """Return the weights of IPS-CN, float64 [n_items] in (0, 1].

    The propensity of an item is taken to be proportional to its popularity plus one. Inverse propensities are clipped
    at their median over the items and divided by the largest, so that half of the items weigh 1 and the popular half
    less (as in the code of BC loss, which PopDCL's baselines come from). Equal popularities give weights of 1.

    Args:
        popularity: training degree [n_items]; index 0 is padding.

    Examples:
        >>> import numpy as np
        >>> clipped_inverse_propensity(np.array([0, 1, 3, 7])).tolist()[1:]
        [1.0, 1.0, 0.5]
    """
    inverse = 1.0 / (popularity + 1.0)
    clipped = np.minimum(inverse, np.median(inverse[1:]))
    return clipped / clipped[1:].max()


def control_probability(popularity: np.ndarray, ratio: float) -> np.ndarray:
    """Return the probability with which a training pair of each item serves as a control pair (CausE), in [0, 1].

    min(1, ratio N / (m pop(i))) for N pairs and m items: each item can expect the same number of control pairs, as if
    a share ``ratio`` of the pairs had been shown at random, except for items with fewer pairs than that.

    Args:
        popularity: training degree [n_items]; index 0 is padding.
        ratio: share of control pairs, in (0, 1).

    Examples:
        >>> import numpy as np
        >>> control_probability(np.array([0, 1, 9]), ratio=0.2).round(3).tolist()[1:]
        [1.0, 0.111]
    """
    share = ratio * popularity.sum() / (len(popularity) - 1)
    return np.minimum(share / np.maximum(popularity, 1), 1.0)


def degree_groups(popularity: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the group of equal popularity of each user or item, int64 [n], and the number of groups (BC loss).

    Examples:
        >>> import numpy as np
        >>> groups, n = degree_groups(np.array([5, 1, 5]))
        >>> groups.tolist(), n
        ([1, 0, 1], 2)
    """
    degrees, groups = np.unique(popularity, return_inverse=True)
    return groups.astype(np.int64), len(degrees)
