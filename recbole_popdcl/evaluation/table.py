"""Flat results as a table to read."""

from __future__ import annotations

from recbole_popdcl.evaluation.keys import SEGMENTS, SET_KEYS, ResultKey


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
    columns = list(dict.fromkeys(key.column for key in parsed))
    rows = [
        (set_key, segment)
        for set_key in SET_KEYS.values()
        for segment in ("", *SEGMENTS)
        if any((key.set, key.segment) == (set_key, segment) for key in parsed)
    ]
    widths = [max(10, len(column)) + 2 for column in columns]
    lines = [f"{'set':<12}{'items':<6}" + "".join(f"{column:>{width}}" for column, width in zip(columns, widths))]
    for set_key, segment in rows:
        cells = [results.get("/".join(part for part in (set_key, segment, column) if part)) for column in columns]
        texts = ["-" if cell is None else f"{cell:.{decimals}f}" for cell in cells]
        values = "".join(f"{text:>{width}}" for text, width in zip(texts, widths))
        lines.append(f"{'' if segment else set_key:<12}{segment or 'all':<6}{values}")
    return "\n".join(lines)
