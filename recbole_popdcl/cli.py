"""Command line ``recbole-popdcl COMMAND``; ``--help`` lists the commands."""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import recbole_popdcl
from dataset_prep import options as preparation
from recbole_popdcl.errors import OneLineParser, PopDCLError, number_from_environment
from recbole_popdcl.evaluation.keys import MAX_K

MODEL_HELP = "model name, ours or RecBole's, or a class of your own: package.module:Class, which is imported"
OWN_MODEL_HELP = "class of a run of your own class, package.module:Class, which is imported"
NEXT = """\
What to do next:
  recbole-popdcl demo                                     three models on a small data set, and a report on them
  recbole-popdcl run --model=PopDCL --dataset=ml-100k     train and evaluate one model
  recbole-popdcl prepare --input FILE --name NAME         make a data set of your own interactions
  recbole-popdcl models | metrics | datasets              what there is, a line each
  recbole-popdcl properties [MODEL]                       what can be set: default, allowed values, meaning
  recbole-popdcl doctor                                   what is installed, what is missing, what the machine has
  recbole-popdcl --help                                   all commands; COMMAND --help has its options"""
RUN_HELP = """\
--property=value sets any property of RecBole, of the model or of this package, for example --temperature=0.12.
--config_files=a.yaml,b.yaml reads yaml files; preset/released_code.yaml is in the package."""

COMPLETION_HELP = """\
bash, for this session:   source <(recbole-popdcl completion bash)
bash, for good:           recbole-popdcl completion bash > ~/.local/share/bash-completion/completions/recbole-popdcl
zsh, in a folder of fpath: recbole-popdcl completion zsh > FOLDER/_recbole-popdcl
tcsh, in ~/.tcshrc:       source FILE that recbole-popdcl completion tcsh > FILE wrote"""


JUDGE_HELP = """\
--property=value sets properties of the dataset and of what is measured, for example --topk=[10,20]; --seed says which
run of the system the lists are of. --config_files=a.yaml,b.yaml reads yaml files."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; ``sys.argv`` by default.

    Returns:
        Exit status: 0, or 2 for bad input after one line on standard error; 130 after Ctrl-C and 143 after SIGTERM.
    """
    arguments, properties = _parser().parse_known_args(argv)
    if arguments.command is None:
        print(NEXT)
        return 2
    with _sigterm_like_interrupt() as terminated:
        try:
            number_from_environment("RANK", 0)
            if arguments.command != "run" and number_from_environment("WORLD_SIZE", 1) != 1:
                raise PopDCLError(f"'{arguments.command}' works in one process; torchrun is for 'run'")
            return arguments.function(arguments, properties)
        except PopDCLError as error:
            if not _tells():
                time.sleep(30)  # until the first has told: torchrun ends all when one ends
            else:
                print(f"recbole-popdcl: error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt as interrupt:
            told = str(interrupt)
            if not told and getattr(arguments, "resume", False):
                told = f"go on with: recbole-popdcl {arguments.command} --resume --run_dir={arguments.run_dir}"
            if _tells():
                print(f"recbole-popdcl: interrupted{told and '; '}{told}", file=sys.stderr)
            return 143 if terminated else 130
        except BrokenPipeError:  # the reader of our output, such as head, has seen enough
            sys.stdout = None
            return 141


def _tells() -> bool:
    """Whether this process speaks: of several processes the first, and any whose number cannot be read."""
    try:
        return number_from_environment("RANK", 0) == 0
    except PopDCLError:  # the command itself says so
        return True


@contextlib.contextmanager
def _sigterm_like_interrupt() -> Iterator[list[int]]:
    """While the block runs, SIGTERM does what Ctrl-C does; yield a list that receives the signal.

    Of several processes all but the first keep the default: one that waits for the others would not hear of it.
    """
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        if not callable(signal.getsignal(signal.SIGINT)):  # ignored, as in jobs that a script puts in the background
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is not threading.main_thread() or not _tells():
        yield received
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="recbole-popdcl", description=recbole_popdcl.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {recbole_popdcl.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter

    run = commands.add_parser("run", help="train and evaluate a model", epilog=RUN_HELP, formatter_class=raw,
                              allow_abbrev=False)  # fmt: skip
    run.add_argument("--model", "-m", complete="model", help=MODEL_HELP)
    run.add_argument("--dataset", "-d", help="dataset name, for example ml-100k, which RecBole bundles")
    run.add_argument(
        "--run_dir", complete="directory", help="folder of the run; runs/<dataset>/<model>/<timestamp> by default"
    )
    run.add_argument("--resume", action="store_true", help="go on with the run in --run_dir")
    run.set_defaults(function=_run)

    tune = commands.add_parser("tune", help="search hyper-parameters on Ray Tune", epilog=RUN_HELP, formatter_class=raw,
                               allow_abbrev=False)  # fmt: skip
    tune.add_argument("--model", "-m", complete="model", help=MODEL_HELP)
    tune.add_argument("--dataset", "-d", help="dataset name")
    tune.add_argument(
        "--space",
        complete="file",
        help="yaml file, property: [values] or a distribution; properties/tune/ has defaults",
    )
    tune.add_argument(
        "--run_dir",
        complete="directory",
        help="folder of the search; runs/<dataset>/<model>/tune-<timestamp> by default",
    )
    tune.add_argument("--resume", action="store_true", help="go on with the search in --run_dir")
    tune.add_argument(
        "--trusted", action="store_true", help="resume a search that somebody else began, which could run any code"
    )
    tune.add_argument(
        "--search", choices=("grid", "random", "optuna"), help="default: grid for lists alone, else random"
    )
    tune.add_argument("--trials", type=positive, default=20, help="number of trials, not for a grid (default: 20)")
    tune.add_argument("--scheduler", choices=("asha", "none"), default="asha", help="stops bad trials (default: asha)")
    tune.add_argument("--cpus_per_trial", type=_share, default=1, help="CPU cores of each trial (default: 1)")
    tune.add_argument("--gpus_per_trial", type=_share, default=0, help="GPUs of each trial, such as 0.5 (default: 0)")
    tune.add_argument("--retries", type=_whole, default=2, help="restarts of a failed or killed trial (default: 2)")
    tune.add_argument("--ray_address", help="address of a running cluster, such as auto (default: a local cluster)")
    tune.set_defaults(function=_tune)

    compare = commands.add_parser("compare", help="several models, data sets and seeds, with paired tests",
                                  epilog=RUN_HELP, formatter_class=raw, allow_abbrev=False)  # fmt: skip
    compare.add_argument("--models", complete="model", help="names, or package.module:Class, with commas between them")
    compare.add_argument("--datasets", required=True, help="names, with commas between them")
    compare.add_argument("--seeds", type=positive, default=3, help="number of seeds, from 2020 on (default: 3)")
    compare.add_argument(
        "--output",
        complete="directory",
        required=True,
        help="folder of the runs and tables; what is there is not run again",
    )
    compare.add_argument(
        "--configs",
        complete="file",
        help="yaml file, label: {property: value}; model: NAME among them where the label is not a model",
    )
    compare.add_argument("--ablation", action="store_true", help="PopDCL with and without its margins")
    compare.add_argument("--reference", help="label the others are tested against (default: PopDCL, or the last one)")
    compare.add_argument("--correction", choices=("holm", "bh"), default="holm", help="of p-values (default: holm)")
    compare.add_argument("--frontier", action="store_true", help="rank again at several score normalisation exponents")
    compare.add_argument(
        "--judged",
        complete="directory",
        action="append",
        metavar="DIR",
        default=[],
        help="folder with judged lists (of judge), to compare beside the models; may be given several times",
    )
    compare.add_argument("--cpus_per_run", type=_share, default=1, help="default: 1")
    compare.add_argument("--gpus_per_run", type=_share, default=0, help="default: 0")
    compare.add_argument("--ray_address", help="of a running cluster; a local one by default")
    compare.set_defaults(function=_compare)

    evaluate = commands.add_parser("evaluate", help="evaluate a finished run again", formatter_class=raw,
                                   epilog=RUN_HELP, allow_abbrev=False)  # fmt: skip
    _add_run(evaluate)
    evaluate.add_argument("--dataset", "-d", help="name of another dataset of the same ids, to evaluate on its "
                          "evaluation sets, or where it is not split on all of it")  # fmt: skip
    evaluate.add_argument(
        "--test", complete="file", help="file with other interactions of the same ids, in a form that prepare reads"
    )
    evaluate.add_argument("--output", complete="file", help="JSON file for the results")
    evaluate.add_argument("--per_user", complete="file", help="Parquet file for the values of every user")
    evaluate.add_argument("--ci", action="store_true", help="add 95 %% intervals, by bootstrap over users")
    evaluate.set_defaults(function=_evaluate)

    judge = commands.add_parser("judge", help="evaluate ranked lists that any system has made", formatter_class=raw,
                                epilog=JUDGE_HELP, allow_abbrev=False)  # fmt: skip
    judge.add_argument(
        "--lists",
        complete="file",
        required=True,
        help="file with raw ids of users and items, and a rank or a score: CSV, TSV, Parquet, .inter, JSON lines, TREC "
        "run",
    )
    judge.add_argument("--dataset", "-d", required=True, help="dataset name")
    judge.add_argument("--name", help="of the system, for tables; the name of the file by default")
    judge.add_argument(
        "--run_dir", complete="directory", help="folder for the results; runs/<dataset>/<name>/<timestamp> by default"
    )
    for role in ("user", "item", "rank", "score"):
        judge.add_argument(f"--{role}_column", metavar="COLUMN", help=f"name of the {role} column (default: the usual)")
    judge.add_argument("--columns", metavar="NAMES", help="columns of a file without a header, such as user,item,rank; "
                       "_ skips one")  # fmt: skip
    judge.set_defaults(function=_judge)

    report = commands.add_parser("report", help="tables and figures of runs, as one page and as files",
                                 allow_abbrev=False)  # fmt: skip
    report.add_argument(
        "runs", complete="directory", metavar="RUNS", nargs="+", help="folders with runs and searches, at any depth"
    )
    report.add_argument(
        "--output", complete="directory", required=True, help="folder for the page; an earlier report in it is replaced"
    )
    report.add_argument("--best", action="store_true", help="one setting of each model, the best on validation")
    report.add_argument("--topk", type=_list_length, default=20, help="K of the metrics (default: 20)")
    report.add_argument("--reference", help="row the others are tested against (default: PopDCL)")
    report.add_argument("--models", help="classes of your own among the runs: package.module:Class, ...")
    report.add_argument("--no_analysis", action="store_true", help="only read files: do not load weights and data")
    report.add_argument("--title", default="Popularity-debiased recommendation", help="of the page")
    report.set_defaults(function=_report)

    recommend = commands.add_parser(
        "recommend", help="write recommendation lists of a finished run", allow_abbrev=False
    )
    _add_run(recommend)
    recommend.add_argument("--users", complete="file", help="text file with a raw user id a line; all users by default")
    recommend.add_argument(
        "--items", complete="file", help="text file with a raw item id a line: no others are recommended"
    )
    recommend.add_argument(
        "--exclude",
        complete="file",
        help="text file with a raw item id a line, or file with pairs of a user and an item, that are not recommended",
    )
    recommend.add_argument(
        "--history",
        complete="file",
        help="file with pairs of a user and an item: lists for these users, who may be new, from their items alone",
    )
    recommend.add_argument("--topk", type=_list_length, default=20, help="items a user (default: 20)")
    recommend.add_argument("--output", complete="file", required=True, help=".csv or .parquet file")
    recommend.set_defaults(function=_recommend)

    score = commands.add_parser("score", help="scores of given pairs by a finished run", allow_abbrev=False)
    _add_run(score)
    score.add_argument(
        "--pairs",
        complete="file",
        required=True,
        help="file with raw ids of users and items: CSV, TSV, Parquet, .inter and whatever else prepare reads",
    )
    score.add_argument("--output", complete="file", help=".csv or .parquet file; standard output by default")
    score.set_defaults(function=_score)

    export = commands.add_parser("export", help="vectors of users and items, for an index by inner product",
                                 allow_abbrev=False)  # fmt: skip
    _add_run(export)
    export.add_argument("--output", complete="file", required=True, help=".parquet, .npy or .safetensors file")
    export.set_defaults(function=_export)

    properties = commands.add_parser("properties", help="list properties: default, allowed values, meaning",
                                     allow_abbrev=False)  # fmt: skip
    properties.add_argument(
        "model", complete="model", metavar="MODEL", nargs="?", help="those of a model; this package's by default"
    )
    properties.set_defaults(function=_properties)

    demo = commands.add_parser("demo", help="three models on ml-100k and a report on them, in about a minute",
                               allow_abbrev=False)  # fmt: skip
    demo.add_argument(
        "--output",
        complete="directory",
        default="runs/demo",
        help="folder of the runs and the report (default: runs/demo)",
    )
    demo.add_argument("--open", action="store_true", help="open the report in a browser")
    demo.set_defaults(function=_demo)

    doctor = commands.add_parser("doctor", help="what is installed, what is missing, what the machine has",
                                 allow_abbrev=False)  # fmt: skip
    doctor.set_defaults(function=_doctor)

    completion = commands.add_parser("completion", help="script by which a shell completes what is typed",
                                     epilog=COMPLETION_HELP, formatter_class=raw, allow_abbrev=False)  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")
    completion.set_defaults(function=_completion)

    models = commands.add_parser("models", help="list models: source, loss", allow_abbrev=False)
    models.set_defaults(function=_models)

    metrics = commands.add_parser("metrics", help="list metrics: what they measure", allow_abbrev=False)
    metrics.set_defaults(function=_metrics)

    datasets = commands.add_parser("datasets", help="list data sets: those at hand, those to prepare",
                                   allow_abbrev=False)  # fmt: skip
    datasets.add_argument(
        "--data_path", complete="directory", help="folder with a folder for each data set (default: dataset)"
    )
    datasets.set_defaults(function=_datasets)

    prepare = commands.add_parser("prepare", help="turn raw files into a dataset", allow_abbrev=False)
    preparation.add_arguments(prepare)
    prepare.set_defaults(function=_prepare)

    describe = commands.add_parser("describe", help="verify a prepared dataset, show its statistics",
                                   allow_abbrev=False)  # fmt: skip
    describe.add_argument("folder", complete="directory", metavar="DIR", help="the dataset's folder")
    describe.add_argument(
        "--plot", complete="file", metavar="FILE", help="draw the items' popularity into a .png, .svg or .pdf file"
    )
    describe.set_defaults(function=_describe)
    return parser


def _add_run(command: OneLineParser) -> None:
    command.add_argument("--run_dir", complete="directory", required=True, help="folder of the run")
    command.add_argument("--model", "-m", help=OWN_MODEL_HELP)


def _names(text: str | None) -> list[str]:
    return [name for name in (text or "").split(",") if name]


def positive(text: str) -> int:
    """Return a whole number of at least 1, as an argument of a parser."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, not {text!r}")
    return value


def _list_length(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_K:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_K}, not {text!r}")
    return int(text)


# Each command imports what it needs, so that --help and faults in the arguments answer at once.


def _run(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.evaluation.table import result_table
    from recbole_popdcl.experiment.known_results import compared_with_known
    from recbole_popdcl.experiment.result import all_results
    from recbole_popdcl.experiment.run import run
    from recbole_popdcl.storage.layout import CONFIG

    result = run(
        arguments.model, arguments.dataset, arguments=properties, run_dir=arguments.run_dir, resume=arguments.resume
    )
    if not _tells():
        return 0
    print(f"\n{result['model']} on {result['dataset']}, best epoch {result['best_epoch']}, {result['run_dir']}")
    decimals = _decimals(Path(result["run_dir"]) / CONFIG)
    print(result_table(all_results(result), decimals))
    if known := compared_with_known(result, decimals):
        print(f"\n{known}")
    return 0


def _decimals(config: Path, properties: Sequence[str] = ()) -> int:
    """The property ``metric_decimal_place``: of the checked properties that were typed, else of a run's config file."""
    from recbole_popdcl.config.reading import parse_arguments, parse_literal, read_yaml

    typed = parse_arguments(properties).get("metric_decimal_place")
    return read_yaml(config).get("metric_decimal_place", 4) if typed is None else parse_literal(typed)


def _level(properties: Sequence[str]) -> str:
    """The property ``state`` of those that were typed: a finished run is not silent because its training was."""
    from recbole_popdcl.config.reading import parse_arguments

    return parse_arguments(properties).get("state", "info")


def _tune(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.config.reading import read_yaml
    from recbole_popdcl.evaluation.table import result_table
    from recbole_popdcl.experiment.result import all_results
    from recbole_popdcl.experiment.search.trials import trials_table
    from recbole_popdcl.experiment.search.tune import Search, tune
    from recbole_popdcl.storage.layout import BEST_SETTINGS, SEARCH

    search = tune(
        arguments.model,
        arguments.dataset,
        arguments=properties,
        space=arguments.space,
        run_dir=arguments.run_dir,
        search=Search(
            search=arguments.search,
            trials=arguments.trials,
            scheduler=arguments.scheduler,
            cpus_per_trial=arguments.cpus_per_trial,
            gpus_per_trial=arguments.gpus_per_trial,
            retries=arguments.retries,
        ),
        resume=arguments.resume,
        ray_address=arguments.ray_address,
        trusted=arguments.trusted,
    )
    decimals = read_yaml(Path(search["run_dir"]) / SEARCH)["properties"]["metric_decimal_place"]
    print(f"\n{trials_table(search['trials'], decimals)}\n\nbest: {search['run_dir']}/{BEST_SETTINGS}")
    _plotted("plot_search", search["run_dir"])
    print(result_table(all_results(search["result"]), decimals))
    return 0


def _plotted(plot: str, folder: str | Path) -> None:
    """Call a function of reporting.build that draws into a finished folder, which is not lost for want of a plot."""
    try:
        from recbole_popdcl.reporting import build

        print("".join(f"plot: {path}\n" for path in getattr(build, plot)(folder)[:1]), end="")
    except PopDCLError as error:
        print(f"no plot: {error}", file=sys.stderr)


def _compare(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.experiment.comparison.compare import ComparisonOptions, compare, read_entries

    models, datasets = _names(arguments.models), _names(arguments.datasets)
    tables = compare(
        read_entries(models, arguments.configs, ablation=arguments.ablation),
        datasets,
        seeds=range(2020, 2020 + arguments.seeds),
        output=arguments.output,
        arguments=properties,
        options=ComparisonOptions(
            cpus_per_run=arguments.cpus_per_run,
            gpus_per_run=arguments.gpus_per_run,
            ray_address=arguments.ray_address,
            reference=arguments.reference,
            correction=arguments.correction,
            frontier=arguments.frontier,
            judged=tuple(arguments.judged),
        ),
    )
    for dataset, text in tables.items():
        print(f"\n{dataset}\n\n{text}")
        _plotted("plot_agreement", Path(arguments.output) / dataset)
    return 0


def _evaluate(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.evaluation.bootstrap import Interval
    from recbole_popdcl.evaluation.table import result_table
    from recbole_popdcl.experiment.finished import evaluate
    from recbole_popdcl.storage.layout import CONFIG
    from recbole_popdcl.storage.logs import logged

    intervals: dict[str, Interval] | None = {} if arguments.ci else None
    with logged(level=_level(properties)):
        results = evaluate(
            arguments.run_dir,
            properties,
            model=arguments.model,
            dataset=arguments.dataset,
            test=arguments.test,
            output=arguments.output,
            per_user_output=arguments.per_user,
            intervals=intervals,
        )
    print(result_table(results, _decimals(Path(arguments.run_dir) / CONFIG, properties), intervals=intervals))
    return 0


def _judge(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.evaluation.table import result_table
    from recbole_popdcl.experiment.judge import judge
    from recbole_popdcl.experiment.ranked_lists import columns_of_lists
    from recbole_popdcl.experiment.result import all_results
    from recbole_popdcl.storage.layout import CONFIG

    columns = {role: getattr(arguments, f"{role}_column") for role in ("user", "item", "rank", "score")}
    result = judge(
        arguments.lists,
        arguments.dataset,
        name=arguments.name,
        columns=columns_of_lists(order=arguments.columns, **columns),
        arguments=properties,
        run_dir=arguments.run_dir,
    )
    print(f"\n{result['model']} on {result['dataset']}, {result['run_dir']}")
    print(result_table(all_results(result), _decimals(Path(result["run_dir"]) / CONFIG)))
    return 0


def _recommend(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.experiment.lists import recommend
    from recbole_popdcl.storage.logs import logged

    with logged(level=_level(properties)):
        recommend(
            arguments.run_dir,
            arguments.output,
            topk=arguments.topk,
            users=arguments.users,
            items=arguments.items,
            exclude=arguments.exclude,
            history=arguments.history,
            arguments=properties,
            model=arguments.model,
        )
    return 0


def _score(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.experiment.score import print_scores, score
    from recbole_popdcl.storage.logs import logged

    with logged(level=_level(properties)):
        frame = score(
            arguments.run_dir, arguments.pairs, output=arguments.output, arguments=properties, model=arguments.model
        )
    if not arguments.output:
        print_scores(frame)
    return 0


def _export(arguments: argparse.Namespace, properties: list[str]) -> int:
    from recbole_popdcl.experiment.export import export
    from recbole_popdcl.storage.logs import logged

    with logged(level=_level(properties)):
        export(arguments.run_dir, arguments.output, arguments=properties, model=arguments.model)
    return 0


def _report(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.reporting.build import report

    _none_left(unknown)
    page = report(
        arguments.runs,
        arguments.output,
        best=arguments.best,
        k=arguments.topk,
        reference=arguments.reference,
        analysis=not arguments.no_analysis,
        models=_names(arguments.models),
        title=arguments.title,
    )
    print(page)
    return 0


def _properties(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.config.listing import as_text, own_rows, rows_of_model

    _none_left(unknown)
    print(as_text(rows_of_model(arguments.model) if arguments.model else own_rows()))
    return 0


def _demo(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.start.demo import demo

    _none_left(unknown)
    page, table = demo(arguments.output, open_page=arguments.open)
    print(f"\n{table}\n\nreport: {page}")
    return 0


def _doctor(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.start.doctor import doctor

    _none_left(unknown)
    text, problem = doctor()
    print(text)
    if problem:
        raise PopDCLError(problem)
    return 0


def _completion(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.start.completion import completion

    _none_left(unknown)
    print(completion(_parser(), arguments.shell))
    return 0


def _models(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.config.listing import models_as_text

    _none_left(unknown)
    print(models_as_text())
    return 0


def _metrics(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.config.listing import metrics_as_text

    _none_left(unknown)
    print(metrics_as_text())
    return 0


def _datasets(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from recbole_popdcl.data.datasets import datasets_as_text

    _none_left(unknown)
    print(datasets_as_text(arguments.data_path))
    return 0


def _prepare(arguments: argparse.Namespace, unknown: list[str]) -> int:
    _none_left(unknown)
    return preparation.run(arguments)


def _describe(arguments: argparse.Namespace, unknown: list[str]) -> int:
    from dataset_prep.describe import describe

    _none_left(unknown)
    print(describe(Path(arguments.folder), arguments.plot and Path(arguments.plot)))
    return 0


def _none_left(unknown: list[str]) -> None:
    if unknown:
        raise PopDCLError(f"unknown argument '{unknown[0]}'; --help lists them")


if __name__ == "__main__":
    sys.exit(main())
