"""Flat results as a table to read."""

from __future__ import annotations

import itertools

from recbole_popdcl.evaluation.keys import SEGMENTS, ResultKey, set_keys_in_order


def result_table(results: dict[str, float], decimals: int = 4) -> str:
    """Return a text table: a row a set and segment, a column a metric@K.

    Args:
        results: {result key: value}.
        decimals: digits after the point.

    Examples:
        >>> print(result_table({"balanced/recall@20": 0.25, "balanced/tail/recall@20": 0.125}))
        set         items    recall@20
        balanced    all         0.2500
                    tail        0.1250
    """
    parsed = {ResultKey.parse(key, "result"): value for key, value in results.items()}
    columns = {(key.metric, key.k): key.column for key in parsed}
    present = {(key.set, key.segment) for key in parsed}
    widths = [max(10, len(column)) + 2 for column in columns.values()]
    titles = "".join(f"{column:>{width}}" for column, width in zip(columns.values(), widths))
    lines = [f"{'set':<12}{'items':<6}{titles}"]
    for of_set, segment in itertools.product(set_keys_in_order(key.set for key in parsed), ("", *SEGMENTS)):
        if (of_set, segment) not in present:
            continue
        cells = [parsed.get(ResultKey(set=of_set, segment=segment, metric=metric, k=k)) for metric, k in columns]
        texts = ["-" if cell is None else f"{cell:.{decimals}f}" for cell in cells]
        values = "".join(f"{text:>{width}}" for text, width in zip(texts, widths))
        lines.append(f"{'' if segment else of_set:<12}{segment or 'all':<6}{values}")
    return "\n".join(lines)
