"""How delimited text is laid out, judged by many lines: separator, header, and the role of each column.

A column is told by what it holds: times are large whole numbers or dates, ratings are few small numbers, ids are all
else. Users come before items unless the ids themselves say otherwise (Amazon's begin with A and with B0).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dataset_prep.columns import SKIPPED
from dataset_prep.evidence import Evidence, Sample
from recbole_popdcl.errors import PopDCLError

# In the order in which they are tried; the first with which all lines have equally many fields is taken.
SEPARATORS = {"::": "double colons", "\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "blanks"}
QUOTED = (",", ";", "|", "\t")  # separators of one character, beside which values may stand in double quotes
# Where the user names no column, these are tried in this order, in any letter case and without signs between letters.
USUAL_NAMES = {
    "user": ("user", "userid", "uid", "reviewerid", "visitorid", "userkey", "username", "customerid", "memberid",
             "playerid", "accountid", "profileid"),
    "item": ("item", "itemid", "iid", "parentasin", "asin", "movieid", "businessid", "bookid", "videoid", "gmapid",
             "artistid", "productid", "isbn", "trackid", "songid", "appid", "gameid", "newsid", "recipeid", "beerid",
             "beerbeerid", "animeid", "venueid", "poiid", "adid", "courseid", "storyid"),
    "rating": ("rating", "ratings", "score", "stars", "overall", "bookrating", "reviewoverall", "weight"),
    "timestamp": ("timestamp", "time", "unixreviewtime", "unixtime", "date", "datetime", "createdat", "reviewtime",
                  "eventtime", "timestamps"),
    "label": ("label", "isclick", "click", "clicked", "islike"),
}  # fmt: skip
LEAST_TIME, LATEST_TIME = 3e8, 1e19  # seconds of 1979; nanoseconds of 2286
MOST_RATINGS, HIGHEST_RATING = 21, 100  # different values; 0 to 10 in halves are 21
DIGIT = re.compile(r"\d")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?")
AMAZON_USER, AMAZON_ITEM = re.compile(r"A[A-Z0-9]{9,}"), re.compile(r"B[A-Z0-9]{9}|\d{9}[\dX]")
ENOUGH = 0.9  # of the values of a column, to say what it holds


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a file of delimited text is laid out.

    Attributes:
        separator: text between columns; a blank stands for any run of blanks and tabs.
        names: of the columns, from the header, or in its place their roles.
        has_header: whether the first line that is not blank holds the names.
        lines_before: lines before the first row, blank ones among them.
    """

    separator: str
    names: tuple[str, ...]
    has_header: bool
    lines_before: int

    def __str__(self) -> str:
        between = f"{len(self.names)} columns between {SEPARATORS.get(self.separator, repr(self.separator))}"
        what = f"header: {', '.join(self.names)}" if self.has_header else f"no header: {' '.join(self.names)}"
        return f"{between}, {what}"


def plain(name: str) -> str:
    """Return the name of a column in lower case, letters and digits alone."""
    return re.sub(r"[\W_]", "", name.split(":")[0]).lower()


def role_of(name: str) -> str | None:
    """Return the role that a column of this name usually has, None for other names."""
    return next((role for role, usual in USUAL_NAMES.items() if plain(name) in usual), None)


def fields(line: str, separator: str) -> list[str]:
    """Return the fields of a line, without blanks around them."""
    if separator == " ":
        return line.split()
    if separator in QUOTED and '"' in line:
        try:
            return [field.strip() for field in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
        except (csv.Error, StopIteration):
            pass
    return [field.strip() for field in line.split(separator)]


def table_of(sample: Sample) -> Table | None:
    """Return how the sample is laid out, None if it is not a table of two columns or more.

    Raises:
        PopDCLError: ``--columns`` and the lines do not fit, or the roles of the columns cannot be told.
    """
    separator = separator_of(sample)
    if separator is None:
        return None
    first = fields(sample.first_line, separator)
    has_header = _is_header(sample, first, [fields(line, separator) for line in sample.lines[1:]])
    order = sample.columns.order
    if order is None:
        names = tuple(first) if has_header else _roles(sample, separator)
    else:
        names = _given(sample, order, first, has_header)
        has_header = False
    return Table(
        separator=separator, names=names, has_header=has_header, lines_before=sample.blank_before + int(has_header)
    )


def separator_of(sample: Sample) -> str | None:
    """Return what stands between the columns: as the user says, as a header of usual names says, or what cuts all lines
    into equally many fields; None if nothing does."""
    if sample.columns.separator is not None:
        return sample.columns.separator
    for separator in SEPARATORS:
        names = [role_of(name) for name in fields(sample.first_line, separator)]
        if len(names) > 1 and ("user" in names or "item" in names):
            return separator
    for separator in SEPARATORS:
        n_fields = {len(fields(line, separator)) for line in sample.lines}
        if len(n_fields) == 1 and n_fields.pop() > 1:
            return separator
    return None


def header_evidence(sample: Sample, *, tabs: bool) -> Evidence:
    """Return the evidence of a table with a header, between tabs or between other separators."""
    columns = sample.columns
    try:
        table = table_of(sample)
    except PopDCLError:
        return Evidence.NONE
    if table is None:  # rows of different lengths, which the reader names
        return Evidence.POSSIBLE if not tabs and "," in sample.first_line else Evidence.NONE
    if not table.has_header or (table.separator == "\t") != tabs:
        return Evidence.NONE
    usual = {role_of(name) for name in table.names} & {"user", "item"}
    return Evidence.COLUMN_NAMES if usual or (columns.user and columns.item) else Evidence.POSSIBLE


def _is_header(sample: Sample, first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names columns: by a usual name or one that the user gives, or as words above numbers.

    Raises:
        PopDCLError: the first line can as well be a row.
    """
    given = {sample.columns.user, sample.columns.item} & set(first)
    if given or {role_of(name) for name in first} & {"user", "item"}:
        return True
    if sample.columns.order is not None or any(_is_number(name) or not name for name in first):
        return False
    columns = list(zip(*rows)) if {len(row) for row in rows} == {len(first)} else []
    if any(_share(values, _is_number) >= ENOUGH for values in columns):
        return True
    if any(name in values for name, values in zip(first, columns)):
        return False  # what stands there again is an id
    with_digits = [(bool(DIGIT.search(name)), _share(values, DIGIT.search)) for name, values in zip(first, columns)]
    if any(not in_name and share >= ENOUGH for in_name, share in with_digits):
        return True
    if any(in_name and share >= ENOUGH for in_name, share in with_digits):
        return False
    raise PopDCLError(
        f"{sample.paths[0]}, line {sample.blank_before + 1}: {sample.first_line[:80]!r} may be names or a row; "
        "name the columns of a file without a header with --columns, those of a header with --user_column and "
        "--item_column"
    )


def _given(sample: Sample, order: Sequence[str], first: Sequence[str], has_header: bool) -> tuple[str, ...]:
    if has_header:
        raise PopDCLError(
            f"{sample.paths[0]}: --columns is for files without a header, but the first line reads "
            f"{sample.first_line[:80]!r}; name its columns by --user_column and --item_column"
        )
    if len(order) != len(first):
        raise PopDCLError(
            f"{sample.paths[0]}, line {sample.blank_before + 1}: {len(first)} columns, but --columns names "
            f"{len(order)}: {sample.first_line[:80]!r}"
        )
    return tuple(order)


def _roles(sample: Sample, separator: str) -> tuple[str, ...]:
    """Roles of the columns of a file without a header.

    Raises:
        PopDCLError: they cannot be told.
    """
    columns = list(zip(*(fields(line, separator) for line in sample.lines)))
    users = ("item", "user") if _items_come_first(columns) else ("user", "item")
    roles = [_role(values) for values in columns[2:]]
    if len(columns) > 4 or None in roles or len(set(roles)) < len(roles):
        example = ["user", "item", "rating", "timestamp", *[SKIPPED] * len(columns)][: len(columns)]
        between = SEPARATORS.get(separator, repr(separator))
        raise PopDCLError(
            f"{sample.paths[0]}: {len(columns)} columns between {between}, no header; what they hold cannot be told "
            f"from {sample.first_line[:80]!r}; name them, such as --columns {','.join(example)}"
        )
    return (*users, *(role for role in roles if role))


def _items_come_first(columns: Sequence[Sequence[str]]) -> bool:
    first, second = columns[:2]
    return (
        _share(first, AMAZON_ITEM.fullmatch) >= ENOUGH
        and _share(second, AMAZON_USER.fullmatch) >= ENOUGH
        and _share(first, AMAZON_USER.fullmatch) < ENOUGH
    )


def _role(values: Sequence[str]) -> str | None:
    """What a column after user and item holds: rating or timestamp, None if neither."""
    if all(DATE.fullmatch(value) for value in values):
        return "timestamp"
    numbers = [float(value) for value in values if _is_number(value)]
    if len(numbers) < len(values):
        return None
    if all(LEAST_TIME <= number <= LATEST_TIME for number in numbers):
        return "timestamp"
    few = len(set(numbers)) <= min(MOST_RATINGS, max(len(numbers), 2))
    return "rating" if few and all(-HIGHEST_RATING <= number <= HIGHEST_RATING for number in numbers) else None


def _share(values: Sequence[str], holds: object) -> float:
    return sum(bool(holds(value)) for value in values) / max(len(values), 1)  # type: ignore[operator]


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
