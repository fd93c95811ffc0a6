"""Calls say what they pass: functions take two arguments by position, and no call passes more than four."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted(path for part in ("recbole_popdcl", "dataset_prep") for path in (ROOT / part).rglob("*.py"))
# Called by RecBole, torch, Ray and Python, by position.
CALLED_BY_OTHERS = {
    "forward", "backward", "fit", "evaluate", "sample_by_user_ids", "after", "on_trial_complete", "on_trial_recover",
    "on_trial_error", "open_output_stream",
}  # fmt: skip
TRIPLE = ["users", "positives", "negatives"]  # as encoders return them, *encoded
TAKE_POSITIONS = ("apply", "info", "warning", "suppress", "ONEDNN", "super().fit")  # of others


def nodes(kind):
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def by_position(node):
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"], ["ctx"]) else names


def test_public_functions():
    found = {
        f"{where} {node.name}": by_position(node)
        for where, node in nodes(ast.FunctionDef)
        if not (node.name.startswith("_") and node.name != "__init__") and node.name not in CALLED_BY_OTHERS
    }
    assert len(found) > 300
    assert {name: names for name, names in found.items() if len(names) > 2 and names != TRIPLE} == {}


def test_calls():
    found = {
        where: ast.unparse(node.func)
        for where, node in nodes(ast.Call)
        if sum(not isinstance(argument, ast.Starred) for argument in node.args) > 4
    }
    assert {where: name for where, name in found.items() if not name.endswith(TAKE_POSITIONS)} == {}
