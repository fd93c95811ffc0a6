"""What a validation is judged by: one result key, or a weighted sum of several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.evaluation.keys import ResultKey
from recbole_popdcl.evaluation.metrics import ACCURACY, find_metric


@dataclass(frozen=True)
class Objective:
    """A weighted sum of results, larger is better.

    Attributes:
        terms: weights and keys.
    """

    terms: tuple[tuple[float, ResultKey], ...]

    @classmethod
    def parse(cls, text: str, where: str) -> Objective:
        """Read ``key`` or ``weight*key + weight*key …``; a missing weight is 1.

        Raises:
            PopDCLError: a term is of another form, or its metric says nothing of quality; begins with ``where``.

        Examples:
            >>> objective = Objective.parse("0.5*valid/recall@20 + 0.5*valid_balanced/recall@20", "valid_metric")
            >>> objective.set_names
            ['valid', 'valid_balanced']
            >>> objective.value({"valid/recall@20": 0.2, "valid_balanced/recall@20": 0.1}) == 0.5 * 0.2 + 0.5 * 0.1
            True
        """
        terms = []
        for part in text.split("+"):
            match: Any = re.fullmatch(r"\s*(?:([\d.]+)\s*\*)?\s*(\S+)\s*", part)
            try:
                weight = float(match[1] or 1)
            except (TypeError, ValueError):
                raise PopDCLError(
                    f"{where} must be a result key such as valid/recall@20, or a sum of such with weights before them "
                    f"such as 0.5*valid/recall@20 + 0.5*valid_balanced/recall@20, not {text!r}"
                ) from None
            key = ResultKey.parse(match[2], where)
            if find_metric(key.metric, where).kind != ACCURACY:
                raise PopDCLError(
                    f"{where}: {key.metric} does not measure quality; take a metric of accuracy, such as recall or ndcg"
                )
            terms.append((weight, key))
        return cls(tuple(terms))

    def __str__(self) -> str:
        if len(self.terms) == 1 and self.terms[0][0] == 1:
            return str(self.terms[0][1])
        return " + ".join(f"{weight:g}*{key}" for weight, key in self.terms)

    @property
    def keys(self) -> list[ResultKey]:
        """The result keys that the sum takes."""
        return [key for _, key in self.terms]

    @property
    def set_names(self) -> list[str]:
        """The sets to rank, each once."""
        return list(dict.fromkeys(key.set_name for key in self.keys))

    def value(self, results: Mapping[str, float]) -> float:
        """Return the sum over flat results, {result key: value}."""
        return sum(weight * results[str(key)] for weight, key in self.terms)
