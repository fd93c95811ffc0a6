"""The newest releases beyond the upper bounds of setup.py, one package at a time and all at once: what breaks.

    python -m tests.environments.newest --work DIR [--packages numpy,pandas] [--output FILE.md]

Needs uv. For a machine that runs it now and then: it ends with 0 whatever breaks, since the bounds stand for what does.
A row that passes is a bound that can be raised. torch is left out: setup.py has no upper bound for it.
"""

from __future__ import annotations

import platform

from packaging.requirements import Requirement

from tests.environments.environment import (
    Outcome,
    build_wheel,
    cell,
    command_line,
    examine,
    heading,
    publish,
    requirements_of,
)

ALL = "all at once"


def beyond(requirement: Requirement) -> str | None:
    """Return the requirement of a release above the upper bound, None where there is no bound."""
    for bound in requirement.specifier:
        if bound.operator in ("<", "<="):
            above = ">=" if bound.operator == "<" else ">"
            extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            return f"{requirement.name}{extras}{above}{bound.version}"
    return None


def table(rows: list[tuple[str, str, dict[str, str], Outcome]]) -> list[str]:
    """Return the Markdown lines of (package, wanted, {package: wanted} that were lifted, outcome)."""
    head = ["package", "wanted", "got", "passed", "failed", "first failure"]
    lines = [
        f"{heading()}, Python {platform.python_version()}",
        "",
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
    ]
    for package, wanted, lifted, outcome in rows:
        got = ", ".join(outcome.versions[name] if len(lifted) == 1 else f"{name} {outcome.versions[name]}"
                        for name in lifted if name in outcome.versions) or "not to be had"  # fmt: skip
        texts = [package, f"`{wanted}`" if wanted else "", got, str(outcome.passed), str(outcome.failed)]
        lines.append(f"| {' | '.join(texts)} | {cell(outcome.first)} |")
    return lines


def main() -> None:
    """Read the command line, try the newest releases, and print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--packages", help="these alone, and not all at once")
    arguments = parser.parse_args()
    wheel = build_wheel(arguments.work)
    requirements = requirements_of(wheel)
    bounded = {requirement.name: beyond(requirement) for requirement in requirements if beyond(requirement)}
    tries = {name: {name: bounded[name]} for name in (arguments.packages or ",".join(bounded)).split(",")}
    python = platform.python_version().rpartition(".")[0]
    wanted = [*map(str, requirements), f"torch<={arguments.torch}"]
    rows: list[tuple[str, str, dict[str, str], Outcome]] = []
    for name, lifted in tries.items():
        outcome = examine(arguments.work / f"newest-{name}", python, wheel, wanted, tuple(lifted.values()))
        rows.append((name, lifted[name], lifted, outcome))
        publish(table(rows), arguments.output)
    lifted = {name: bounded[name] for (name, *_, outcome) in rows if outcome.versions}  # there is something newer
    if lifted and not arguments.packages:
        outcome = examine(arguments.work / "newest-all", python, wheel, wanted, tuple(lifted.values()))
        rows.append((ALL, "", lifted, outcome))
        publish(table(rows), arguments.output)


if __name__ == "__main__":
    main()
