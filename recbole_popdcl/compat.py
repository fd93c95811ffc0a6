"""The one place that reaches into RecBole's modules, where its own interfaces leave no other way."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

# Names that numpy 2 dropped and RecBole uses; numpy's own new meanings of ``bool`` and ``long`` stay as they are.
NUMPY_NAMES = {
    "int": np.int64,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "unicode": np.str_,
}
ROWS_PER_BLOCK = 100  # of a similarity matrix held at a time


def add_numpy_names() -> None:
    """Give numpy those of NUMPY_NAMES that it lacks; RecBole's own hook would fail on numpy 2."""
    for name, value in NUMPY_NAMES.items():
        if name not in vars(np):  # hasattr would make numpy warn of the name
            setattr(np, name, value)


@functools.cache
def repaired(model: type) -> type:
    """Return a model class of RecBole's with its repair, under the same name; any other class as it is.

    Args:
        model: a class, of RecBole's general models or not.
    """
    repair = REPAIRS.get(model.__name__) if model.__module__.startswith("recbole.model.general_recommender.") else None
    return type(model.__name__, (repair, model), {"__module__": __name__}) if repair else model


def __getattr__(name: str) -> type:
    """Return a repaired class by its name, as pickle looks for it."""
    if name not in REPAIRS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recbole.utils import get_model

    return repaired(get_model(name))


def normalized_adjacency(pairs: sp.coo_matrix, *, left: float, right: float) -> torch.Tensor:
    """Return D^left A D^right of the bipartite graph, users before items, as RecBole's models hold it.

    Args:
        pairs: a user and an item in each entry [n_users, n_items]; repeated pairs count once.
        left: exponent of the degrees on the left, -1/2 for the symmetric matrix (NGCF, Eq. 8), -1 for a walk's.
        right: exponent of the degrees on the right.

    Returns:
        Sparse float32 tensor [n_users + n_items, n_users + n_items]. Entries of a row stand in the order of the pairs,
        with ``right`` 0 in the opposite one, so that sums over a row round as they do under RecBole 1.2.1.
    """
    n_users, n_items = pairs.shape
    first = np.unique(pairs.row.astype(np.int64) * n_items + pairs.col, return_index=True)[1]
    first.sort()
    users, items = pairs.row[first].astype(np.int64), pairs.col[first].astype(np.int64) + n_users
    rows, columns = np.concatenate([users, items]), np.concatenate([items, users])
    if right == 0:  # scipy's product with a diagonal matrix turns rows round; a second one turns them back
        rows, columns = rows[::-1], columns[::-1]
    degrees = np.bincount(rows, minlength=n_users + n_items) + 1e-7  # RecBole's, against 0
    order = np.argsort(rows, kind="stable")
    rows, columns = rows[order], columns[order]
    values = np.power(degrees, left)[rows] * np.power(degrees, right)[columns]
    indices = torch.from_numpy(np.stack([rows, columns]))
    size = (n_users + n_items, n_users + n_items)
    return torch.sparse_coo_tensor(indices, torch.from_numpy(values.astype(np.float32)), size, check_invariants=False)


def nearest_rows(matrix: sp.csr_matrix, *, k: int, shrink: float) -> sp.csr_matrix:
    """Return the cosines of each row with the k rows nearest to it, float32 [n, n]; 0 for all others and for itself.

    Args:
        matrix: the rows, float32 [n, d].
        k: number of neighbours, all of them where there are fewer.
        shrink: added to the product of the norms, which draws the cosines of short rows to 0.
    """
    n = matrix.shape[0]
    norms = np.sqrt(np.asarray(matrix.power(2).sum(axis=1)).ravel())
    columns, values = [], []
    for start in range(0, n, ROWS_PER_BLOCK):
        block = matrix[start : start + ROWS_PER_BLOCK]
        cosines = (block @ matrix.T).toarray()
        cosines *= 1 / (norms[start : start + ROWS_PER_BLOCK, None] * norms + shrink + 1e-6)
        np.fill_diagonal(cosines[:, start:], 0)
        # Many are equally near. Of these numpy's vector code takes others on each kind of processor; for this type it
        # has plain code alone, which takes those that RecBole 1.2.1 took.
        best = np.argpartition(-cosines.astype(np.longdouble), min(k, n) - 1, axis=1)[:, :k]
        columns.append(best)
        values.append(np.take_along_axis(cosines, best, axis=1))
    rows = np.repeat(np.arange(n), min(k, n))
    nearest = sp.csr_matrix((np.concatenate(values).ravel(), (rows, np.concatenate(columns).ravel())), shape=(n, n))
    nearest.eliminate_zeros()
    return nearest


_Stock: Any = object  # stands for the class of RecBole's that a repair is put in front of


class _Graph(_Stock):
    """the graph is made of arrays, as scipy no longer has `dok_matrix._update`"""

    def get_norm_adj_mat(self) -> torch.Tensor:
        return normalized_adjacency(self.interaction_matrix, left=-0.5, right=-0.5)


class _NGCF(_Graph):
    """the graph as for GCMC; message dropout is off while ranking"""

    @property
    def message_dropout(self) -> float:
        """Share dropped in a forward pass, which makes its Dropout anew each time and so always in training mode."""
        return self._message_dropout if self.training else 0.0

    @message_dropout.setter
    def message_dropout(self, share: float) -> None:
        self._message_dropout = share


class _SpectralCF(_Stock):
    """the graph as for GCMC"""

    def get_laplacian_matrix(self) -> torch.Tensor:
        walk = normalized_adjacency(self.interaction_matrix, left=-1.0, right=0.0)
        return self.get_eye_mat(self.n_items + self.n_users) - walk


class _Diffusion(_Stock):
    """`predict` scores the item of each row, not all items of the batch; `noise_scale: 0` trains without noise"""

    def calculate_for_diffusion(self) -> None:
        if self.noise_scale == 0.0:  # there are no betas, and no steps that differ in noise to weight the loss by
            self.reweight = False
        else:
            super().calculate_for_diffusion()

    def predict(self, interaction: Any) -> torch.Tensor:
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)


class _SimpleX(_Stock):
    """has the property `dropout_prob`"""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.dropout.p = config["dropout_prob"]


class _ItemKNN(_Stock):
    """has the property `knn_method` (item or user); has the same of equally near neighbours on every x86-64 machine"""

    def __init__(self, config: Any, dataset: Any) -> None:
        from recbole.model.general_recommender.itemknn import ItemKNN

        super(ItemKNN, self).__init__(config, dataset)  # ItemKNN's own would look for neighbouring items in any case
        self.k, self.shrink, self.method = config["k"], config["shrink"], config["knn_method"]
        self.interaction_matrix = dataset.inter_matrix(form="csr").astype(np.float32)
        if self.method == "user":
            self.w = nearest_rows(self.interaction_matrix, k=self.k, shrink=self.shrink).tocsc()
            self.pred_mat = (self.w @ self.interaction_matrix).tolil()
        else:
            self.w = nearest_rows(self.interaction_matrix.T.tocsr(), k=self.k, shrink=self.shrink).T.tocsc()
            self.pred_mat = (self.interaction_matrix @ self.w).tolil()
        self.fake_loss = torch.nn.Parameter(torch.zeros(1))
        self.other_parameter_name = ["w", "pred_mat"]


class _Random(_Stock):
    """`predict` draws on the device"""

    def predict(self, interaction: Any) -> torch.Tensor:
        return torch.rand(len(interaction), device=self.device)


class _OnDevice(_Stock):
    """the scores of `predict` are on the device"""

    def predict(self, interaction: Any) -> torch.Tensor:
        return super().predict(interaction).to(self.device)


# General models of RecBole 1.2.0 that do not do what they do under 1.2.1, or not with current libraries. The text of a
# repair is its row in docs/stock_models.md.
REPAIRS: dict[str, type] = {
    "ADMMSLIM": _OnDevice,
    "DiffRec": _Diffusion,
    "GCMC": _Graph,
    "ItemKNN": _ItemKNN,
    "LDiffRec": _Diffusion,
    "LightGCN": _Graph,
    "NCL": _Graph,
    "NGCF": _NGCF,
    "Random": _Random,
    "SimpleX": _SimpleX,
    "SLIMElastic": _OnDevice,
    "SpectralCF": _SpectralCF,
}


@contextlib.contextmanager
def without_tensorboard() -> Iterator[None]:
    """While the block runs, RecBole's Trainer makes no files for TensorBoard; training/events.py makes those of a run.

    Trainer.__init__ calls a module function that always writes below ``log_tensorboard/`` of the current folder.
    """
    import recbole.trainer.trainer as recbole_trainer  # slow, and Config imports this file

    original = recbole_trainer.get_tensorboard
    recbole_trainer.get_tensorboard = lambda logger: _Nowhere()
    try:
        yield
    finally:
        recbole_trainer.get_tensorboard = original


@contextlib.contextmanager
def early_stopping_by(function: Callable[..., Any]) -> Iterator[None]:
    """While the block runs, the loops of RecBole's own trainers (NCL, RaCT) judge a validation by ``function``.

    RecBole's takes an equal score for a gain, so that a plateau never ends.

    Args:
        function: as ``training.trainer.early_stopping``.
    """
    import recbole.trainer.trainer as recbole_trainer

    original = recbole_trainer.early_stopping
    recbole_trainer.early_stopping = lambda value, best, cur_step, max_step, bigger=True: function(
        value, best, cur_step=cur_step, max_step=max_step
    )
    try:
        yield
    finally:
        recbole_trainer.early_stopping = original


class _Nowhere:
    """A SummaryWriter that writes nothing."""

    def add_scalar(self, *_: Any) -> None:
        """Forget the value."""

    def add_hparams(self, *_: Any) -> None:
        """Forget the properties."""
