"""Oldest and newest allowed version of every dependency on each Python: what installs, and which tests pass.

    python -m tests.environments.matrix --work DIR [--pythons 3.11,…] [--sets oldest,newest] [--output FILE.md]

Needs uv. The oldest set has the lowest version that setup.py allows and that has a wheel for the Python; the newest one
the highest, torch not beyond --torch. Where the index has CUDA builds of torch alone, an environment takes some GB.
"""

from __future__ import annotations

from tests.environments.environment import (
    SHOWN,
    Outcome,
    build_wheel,
    cell,
    command_line,
    examine,
    heading,
    publish,
    requirements_of,
)


def table(rows: list[tuple[str, str, Outcome]]) -> list[str]:
    """Return the Markdown lines of (Python, set, outcome)."""
    head = ["Python", "set", *SHOWN, "installs", "passed", "failed", "first failure"]
    lines = [heading(), "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for python, which, outcome in rows:
        versions = [outcome.versions.get(name, "") for name in SHOWN]
        installs = "yes" if outcome.installed else "**no**" if outcome.first else "resolves; no interpreter at hand"
        texts = [python, which, *versions, installs, str(outcome.passed), str(outcome.failed), cell(outcome.first)]
        lines.append(f"| {' | '.join(texts)} |")
    return lines


def main() -> None:
    """Read the command line, examine every environment, and print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--pythons", default="3.11,3.12,3.13,3.14")
    parser.add_argument("--sets", default="oldest,newest")
    arguments = parser.parse_args()
    wheel = build_wheel(arguments.work)
    wanted = [str(requirement) for requirement in requirements_of(wheel)]
    rows: list[tuple[str, str, Outcome]] = []
    for version in arguments.pythons.split(","):
        for which in arguments.sets.split(","):
            folder = arguments.work / f"python{version}-{which}"
            more = [] if which == "oldest" else [f"torch<={arguments.torch}"]
            outcome = examine(folder, version, wheel, wanted + more, lowest=which == "oldest")
            rows.append((version, which, outcome))
            publish(table(rows), arguments.output)
    raise SystemExit(any(outcome.first for *_, outcome in rows))


if __name__ == "__main__":
    main()
