"""Single users: the history of each, and every model's list for it side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from recbole_popdcl.experiment.analysis import HISTORY, LIST
from recbole_popdcl.reporting.figures import page_looks
from recbole_popdcl.storage.files import written_whole


@dataclass
class UsersView:
    """Sampled users of one data set.

    Attributes:
        name: of its file.
        title, note: what a reader needs to understand it.
        labels: the rows of the data set.
        samples: {label: analysis.sampled_users of a run}, of the rows that have them; the others have no lists.
    """

    name: str
    title: str
    note: str
    labels: Sequence[str]
    samples: Mapping[str, pd.DataFrame]
    kind: ClassVar[str] = "users"

    @property
    def files(self) -> list[str]:
        """Its files."""
        return [f"{self.name}.csv"]

    def frame(self) -> pd.DataFrame:
        """Return the histories, without a model, and the lists of all models; columns as analysis.sampled_users."""
        parts = [frame[frame["part"] == LIST].assign(model=label) for label, frame in self.samples.items()]
        histories = pd.concat([frame[frame["part"] == HISTORY] for frame in self.samples.values()])
        histories = histories.drop_duplicates(["user_id", "place"]).assign(model="")
        frame = pd.concat([histories, *parts], ignore_index=True)
        frame["title"] = frame["item_id"].map(self._titles()).astype(object).fillna("")
        return frame[["user_id", "part", "model", "place", "item_id", "title", "popularity", "found", "history"]]

    def _titles(self) -> dict[str, str]:
        """{raw item id: title}; samples of version 0.1 know none."""
        known = [frame[frame["title"] != ""] for frame in self.samples.values() if "title" in frame]
        return dict(pair for frame in known for pair in zip(frame["item_id"], frame["title"]))

    def data(self) -> dict[str, Any]:
        """Return what the page's script shows: items once, and users with places of items in that list.

        An item is its raw id, popularity and title, an entry of a list an item's place and the tests in which the user
        has it.
        """
        frame = self.frame()
        items = frame.drop_duplicates("item_id")[["item_id", "popularity", "title"]]
        place = {item: number for number, item in enumerate(items["item_id"])}
        frame = frame.assign(item=frame["item_id"].map(place))
        users = []
        for user, rows in frame.groupby("user_id", sort=False):
            of_model = dict(list(rows.groupby("model")))
            users.append({
                "id": user,
                "total": int(rows["history"].iloc[0]),
                "history": of_model[""]["item"].tolist() if "" in of_model else [],
                "lists": [
                    list(map(list, zip(of_model[label]["item"].tolist(), of_model[label]["found"])))
                    if label in of_model else None
                    for label in self.labels
                ],
            })  # fmt: skip
        looks = page_looks(self.labels)
        return {
            "models": [{"label": label, "look": looks[label]} for label in self.labels],
            "items": [[item, int(popularity), title] for item, popularity, title in items.itertuples(index=False)],
            "users": users,
        }

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv`` into a folder."""
        with written_whole(folder / self.files[0]) as temporary:
            self.frame().to_csv(temporary, index=False)
