"""``recbole-popdcl completion SHELL``: a script by which a shell completes commands, options, files and model names.

The options say themselves what they take: ``add_argument(complete="file")``, ``"directory"`` or ``"model"``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from string import Template

from recbole_popdcl.errors import PopDCLError

MODEL = "model"  # what an option takes, beside what shtab knows: file and directory
# bash cuts --model=PopDCL into the words --model, = and PopDCL, of which shtab's function knows the first and the last
WITHOUT_SIGNS = Template("""
${function}_without_signs() {
  local place cursor=$$COMP_CWORD
  local -a words=()
  for ((place = 0; place < $${#COMP_WORDS[@]}; place++)); do
    if [[ "$${COMP_WORDS[place]}" != "=" ]]; then
      words+=("$${COMP_WORDS[place]}")
    elif ((place == COMP_CWORD)); then
      words+=("")
    elif ((place < COMP_CWORD)); then
      ((cursor -= 1))
    fi
  done
  local -a COMP_WORDS=("$${words[@]}")
  local COMP_CWORD=$$cursor
  ${function}
}
complete -o bashdefault -F ${function}_without_signs ${program}
""")


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell.

    Args:
        parser: of the command line; not to be used to parse with afterwards, as it then takes known models alone.
        shell: ``bash``, ``zsh`` or ``tcsh``.

    Raises:
        PopDCLError: the package shtab, which writes the script, is missing.
    """
    try:
        import shtab
    except ImportError as error:
        raise PopDCLError("completion needs shtab: pip install 'recbole-popdcl[completion]'") from error
    names = _model_names()
    for action in _actions(parser):
        if getattr(action, "complete", None) == MODEL:
            del action.complete  # type: ignore[attr-defined]
            action.choices = names
    script = shtab.complete(parser, shell=shell)
    if shell == "bash":
        function = shtab.wordify(f"_shtab_{parser.prog}")
        script += WITHOUT_SIGNS.substitute(function=function, program=parser.prog)
    return script


def _model_names() -> list[str]:
    from recbole_popdcl.config.models import UNSUPPORTED, general_models, model_names

    stock = sorted({*general_models()} - {*UNSUPPORTED, *model_names()}, key=str.lower)
    return [*model_names(), *stock]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
