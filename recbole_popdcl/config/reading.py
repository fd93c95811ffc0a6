"""Property files and values as they are written: yaml, literals, arguments; parsed, never evaluated."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_popdcl.errors import PopDCLError, reason, shown

MAX_YAML_BYTES = 1 << 18
MAX_LITERAL = 4096  # characters; Python's own parser may fall over longer and deeper ones
MAX_DEPTH = 32  # lists in lists
MAX_VALUES = 100_000  # of a yaml file, aliases written out
MAX_DIGITS = 250  # even hexadecimal ones then stay below the largest float
UNREADABLE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


def properties_folder() -> Path:
    """Return the folder of the property yaml files, in an installed package as well as in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


class Loader(yaml.SafeLoader):
    """Safe yaml that reads 1e-4 as a number, as RecBole's loader does, and refuses object tags.

    A property given twice, and what would unfold in memory (aliases of aliases, deep nesting, endless numbers), is
    refused before anything is built.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values in a node, aliases written out, and how deep they are nested."""
    place = id(node)
    if measured := known.get(place):
        return measured
    if place in known:
        raise yaml.constructor.ConstructorError(None, None, "a value that holds itself", node.start_mark)
    known[place] = None
    if isinstance(node, yaml.ScalarNode):
        node.value.encode("utf-8")  # half a surrogate pair can be shown and written nowhere
        if len(node.value) > MAX_DIGITS and node.tag.endswith((":int", ":float")):
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        parts = []
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"'{key.value}' is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        parts = [_measure(part, known) for pair in node.value for part in pair]
    else:
        parts = [_measure(part, known) for part in node.value]
    size, depth = 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)
    if size > MAX_VALUES or depth > MAX_DEPTH:
        what = f"more than {MAX_VALUES} values" if size > MAX_VALUES else f"nested deeper than {MAX_DEPTH}"
        raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
    known[place] = size, depth
    return size, depth


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


class Dumper(yaml.SafeDumper):
    """Puts texts that Loader would read as numbers into quotes."""


Dumper.yaml_implicit_resolvers = {key: list(value) for key, value in Loader.yaml_implicit_resolvers.items()}


def dump_yaml(values: Mapping[str, Any]) -> str:
    """Return properties as yaml that ``read_yaml`` reads back unchanged.

    Examples:
        >>> print(dump_yaml({"temperature": 0.2, "metrics": ["Recall"]}), end="")
        metrics:
        - Recall
        temperature: 0.2
    """
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=True, allow_unicode=True)


def parse_literal(text: Any) -> Any:
    """Read a value from the command line or a dict as a Python literal; any other text stays as it is.

    Nothing is evaluated: ``"__import__('os')"`` stays a text. ``true`` and ``false`` are read in any case, and lists
    and mappings without quotes, as a shell leaves them, as yaml: ``[Recall,NDCG]``.

    Examples:
        >>> parse_literal("0.2"), parse_literal("true"), parse_literal("[Recall,NDCG]")
        (0.2, True, ['Recall', 'NDCG'])
        >>> parse_literal("__import__('os')")
        "__import__('os')"
    """
    if not isinstance(text, str) or len(text) > MAX_LITERAL or _bracket_depth(text) > MAX_DEPTH:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = ast.literal_eval(text)
        return value if _is_plain(value) else text
    if text[:1] + text[-1:] in ("[]", "{}"):  # quotes that a shell took away: [Recall,NDCG] or {sample_num:5}
        with contextlib.suppress(*UNREADABLE):
            return yaml.load(re.sub(r":(?=\S)", ": ", text) if text[0] == "{" else text, Loader=Loader)
    return text


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for sign in re.findall(r"[\[({\])}]", text):
        depth += 1 if sign in "[({" else -1
        deepest = max(deepest, depth)
    return deepest


def _is_plain(value: Any) -> bool:
    """Whether a literal is what yaml and JSON know: no bytes, sets or complex numbers, and no endless integers."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, (str, int, float)) and _is_plain(part) for key, part in value.items())
    return isinstance(value, (str, float, type(None))) or (isinstance(value, int) and value.bit_length() < 1024)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one property file.

    Raises:
        PopDCLError: the file is missing, is not yaml, or is not a mapping of properties; names file and line.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_YAML_BYTES + 1)
        if len(text) > MAX_YAML_BYTES:
            raise PopDCLError(f"config file {path} is longer than {MAX_YAML_BYTES} bytes, the most that is read")
        content = copy.deepcopy(_parsed(text.decode("utf-8")))
    except OSError as error:
        raise PopDCLError(f"cannot read config file {path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise PopDCLError(f"config file {path} is not UTF-8 text: byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise PopDCLError(f"config file {path}{line}: {problem}") from error
    except RecursionError as error:
        raise PopDCLError(f"config file {path}: nested deeper than {MAX_DEPTH}") from error
    except UNREADABLE as error:
        raise PopDCLError(f"config file {path}: {reason(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise PopDCLError(f"config file {path} must hold lines 'property: value', not {type(content).__name__}")
    return content


@functools.lru_cache(maxsize=128)
def _parsed(text: str) -> Any:
    """The content of a yaml text, parsed once: the files of the package are read for every model and run."""
    return yaml.load(text, Loader=Loader)


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Turn ``--property=value`` or ``--property value`` into a dict of texts.

    Raises:
        PopDCLError: an argument has another form, or a property is given twice with different values.

    Examples:
        >>> parse_arguments(["--temperature=0.2", "--encoder", "mf"])
        {'temperature': '0.2', 'encoder': 'mf'}
    """
    values: dict[str, str] = {}
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        name, equals, value = argument[2:].partition("=")
        if not argument.startswith("--") or not name:
            raise PopDCLError(f"command line: '{argument}' is not of the form --property=value")
        if not equals:
            position += 1
            if position >= len(arguments) or arguments[position].startswith("--"):
                raise PopDCLError(f"command line: --{name} has no value; write --{name}=value")
            value = arguments[position]
        if values.setdefault(name, value) != value:
            raise PopDCLError(f"command line: --{name} is given twice, as {shown(values[name])} and as {shown(value)}")
        position += 1
    return values


def find_config_file(file: str | Path) -> Path:
    """Return the config file as a path: itself, or the one of that name in the package's ``properties`` folder."""
    path = Path(file)
    packaged = properties_folder() / path
    if path.is_file() or not packaged.is_file():
        return path
    return packaged
