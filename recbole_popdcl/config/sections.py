"""Sections of property files: what a file has for one model, or for the models of one base class, alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from recbole_popdcl.config.models import general_models, own_models
from recbole_popdcl.errors import PopDCLError, shown


def section_names() -> set[str]:
    """Return what a section may be named after: our models, the classes that they derive from, RecBole's models."""
    ours = {
        base.__name__
        for owner in own_models().values()
        for base in owner.__mro__
        if base.__module__.startswith("recbole_popdcl.")
    }
    return ours | set(general_models())


def split(content: Mapping[str, Any], *, more: Collection[str], where: str) -> tuple[dict[str, Any], dict[str, dict]]:
    """Return the properties that a file has for every model, and its sections, {name: properties}.

    Args:
        content: of a property file.
        more: names of sections beside ``section_names``, those of a class of the user's own.
        where: the file, for errors.

    Raises:
        PopDCLError: a section does not hold properties.
    """
    names = section_names() | set(more)
    sections = {name: {} if value is None else value for name, value in content.items() if name in names}
    for name, values in sections.items():
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise PopDCLError(f"{where}: section '{name}' must hold 'property: value', not {shown(values)}")
    return {name: value for name, value in content.items() if name not in sections}, sections


def merged(
    shared: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], *, names: Sequence[str]
) -> dict[str, Any]:
    """Return what a file has for a model: for all, and above it the sections of ``names``, later ones above earlier."""
    return {**shared, **{key: value for name in names for key, value in sections.get(name, {}).items()}}
