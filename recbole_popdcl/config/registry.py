"""What a package holds: a class is declared once, in its module, and everything that lists such classes asks here."""

from __future__ import annotations

import functools
import importlib
import pkgutil


@functools.cache
def classes_in(package: str) -> tuple[type, ...]:
    """Return the classes that the modules of a package define, by module and in their order there.

    Args:
        package: its full name; all of its modules are imported.
    """
    folder = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(folder)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    )
