"""Runs to report on, and the report on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_popdcl.config.reading import dump_yaml
from recbole_popdcl.experiment.comparison.compare import ABLATION
from recbole_popdcl.experiment.run import run
from recbole_popdcl.reporting.build import report


@pytest.fixture(scope="session")
def runs(toy, tmp_path_factory) -> Path:
    """Two seeds of LightGCN, SSM at two temperatures, PopDCL without each margin; RecBole's BPR; a search."""
    folder = tmp_path_factory.mktemp("runs")
    wanted = [
        ("LightGCN", {}),
        ("SSM", {"temperature": 0.2}),
        ("SSM", {"temperature": 0.4}),
        *(("PopDCL", switches) for switches in ABLATION.values()),
        ("BPR", {}),
    ]
    for number, (model, properties) in enumerate(wanted):
        for seed in (1, 2):
            run(
                model, config_dict={**toy, **properties, "seed": seed}, run_dir=folder / f"{number}-{model}" / str(seed)
            )
    search = {"space": {"temperature": [0.1, 0.2], "encoder": ["mf", "lightgcn"]},
              "properties": {"model": "SSM", "dataset": "toy", "valid_metric": "valid/recall@20"}}  # fmt: skip
    (folder / "search" / "trial-1" / "run").mkdir(parents=True)
    (folder / "search" / "trial-1" / "run" / "config.yaml").write_text("model: SSM\n")
    (folder / "search" / "search.yaml").write_text(dump_yaml(search))
    (folder / "search" / "trials.csv").write_text(
        "trial,temperature,encoder,score,valid/recall@20,valid/ndcg@20,validations,error\n"
        "b,0.2,mf,0.5,0.5,0.1,3,\na,0.1,lightgcn,0.4,0.4,0.2,1,\nc,0.1,mf,,,,0,x\n"
    )
    return folder


@pytest.fixture(scope="session")
def page(runs, tmp_path_factory) -> Path:
    return report([runs], tmp_path_factory.mktemp("report") / "out")
