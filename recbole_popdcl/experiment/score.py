"""Scores of given pairs of users and items by a finished run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_popdcl.data.pairs import Pairs
from recbole_popdcl.experiment.finished import OF_MEASURING, load_run
from recbole_popdcl.experiment.raw_ids import RawIds, Unknown, known_pairs, read_pairs
from recbole_popdcl.storage.files import table_suffix, write_table


def score(
    run_dir: str | Path,
    pairs: str | Path,
    *,
    output: str | Path | None = None,
    arguments: Sequence[str] = (),
    model: str | type | None = None,
) -> pd.DataFrame:
    """Return the scores of pairs of a user and an item: columns user_id, item_id, score.

    A row a pair, in the order of the file, repeated ones too. Scores are those that ``recommend`` writes; hidden items,
    such as the user's training items, have theirs as well. A pair whose user or item the run does not know has none: it
    is empty (NaN), and a warning counts such ids.

    Args:
        run_dir: the run's folder.
        pairs: raw ids in a file that ``recbole-popdcl prepare`` reads: CSV or TSV with a header such as
            ``user_id,item_id``, Parquet, ``.inter`` …
        output: ``.csv`` or ``.parquet`` file for them.
        arguments: as load_run.
        model: as load_run.

    Raises:
        PopDCLError: as load_run; a file that cannot be read or holds no known pair, or an output of another kind.
    """
    if output:
        table_suffix(output)
    run = load_run(run_dir, arguments, model=model, without_effect=(*OF_MEASURING, "eval_mask", "cold_items"))
    ids, unknown = RawIds(run.data.dataset), Unknown()
    asked = read_pairs(pairs, ids=ids, option="--pairs")
    users, items, known = known_pairs(ids, asked, option="--pairs", unknown=unknown)
    of_known = Pairs(users[known], items[known], n_users=len(ids.users), n_items=len(ids.items))
    values = run.ranker.score(run.model, of_known, show_progress=run.show_progress).numpy()
    scores = np.full(len(asked), np.nan, dtype=np.float32)
    scores[known] = values[np.searchsorted(of_known.keys, of_known.row_keys())]
    user_ids, item_ids = (raw.dictionary.take(raw.indices).to_pandas() for raw in asked.raw())
    frame = pd.DataFrame({"user_id": user_ids, "item_id": item_ids, "score": scores})
    log = logging.getLogger()
    if not known.all():
        log.warning("%d of %d pairs have no score, as their user or item is unknown", (~known).sum(), len(known))
    if output:
        write_table(output, frame)
        log.info("%d scores written to %s", known.sum(), output)
    return frame


def print_scores(frame: pd.DataFrame) -> None:
    """Write what ``score`` returns to standard output, as CSV."""
    frame.to_csv(sys.stdout, index=False)
