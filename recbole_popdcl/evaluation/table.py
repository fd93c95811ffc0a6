"""Flat results as a table to read."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_popdcl.evaluation.keys import ResultKey, segment_order, set_keys_in_order


def result_table(
    results: dict[str, float], decimals: int = 4, *, intervals: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """Return a text table: a row a set and segment, a column a metric@K.

    Args:
        results: {result key: value}.
        decimals: digits after the point.
        intervals: {result key: bounds} of those that have one.

    Examples:
        >>> print(result_table({"balanced/recall@20": 0.25, "balanced/tail/recall@20": 0.125}))
        set         items    recall@20
        balanced    all         0.2500
                    tail        0.1250
    """
    parsed = {ResultKey.parse(key, "result"): value for key, value in results.items()}
    columns = {(key.metric, key.k): key.column for key in parsed}
    present = {(key.set, key.segment) for key in parsed}
    texts = {key: _text(value, (intervals or {}).get(str(key)), decimals) for key, value in parsed.items()}
    widest = max(10, *map(len, texts.values())) if intervals else 10
    widths = [max(widest, len(column)) + 2 for column in columns.values()]
    titles = "".join(f"{column:>{width}}" for column, width in zip(columns.values(), widths))
    order = set_keys_in_order(key.set for key in parsed)
    wide = max(6, *(len(segment) + 2 for _, segment in present))
    lines = [f"{'set':<12}{'items':<{wide}}{titles}"]
    for of_set, segment in sorted(present, key=lambda row: (order.index(row[0]), segment_order(row[1]))):
        keys = (ResultKey(set=of_set, segment=segment, metric=metric, k=k) for metric, k in columns)
        values = "".join(f"{texts.get(key, '-'):>{width}}" for key, width in zip(keys, widths))
        lines.append(f"{'' if segment else of_set:<12}{segment or 'all':<{wide}}{values}")
    return "\n".join(lines)


def _text(value: float, interval: tuple[float, float] | None, decimals: int) -> str:
    bounds = "" if interval is None else " [{:.{n}f}, {:.{n}f}]".format(*interval, n=decimals)
    return f"{value:.{decimals}f}{bounds}"
