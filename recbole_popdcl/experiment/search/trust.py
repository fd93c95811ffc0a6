"""A mark that tells a user's own search from one that somebody else made.

Ray keeps the state of a search as pickles, which can run any code when they are read. So ``tune --resume`` reads it
only in a folder that bears the mark of this user, made when the search was begun: a keyed hash of the folder's path.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

from recbole_popdcl.errors import PopDCLError
from recbole_popdcl.storage.files import written_whole

MARK = ".begun_by"


def mark(folder: Path) -> None:
    """Put this user's mark into the folder of a search that begins.

    Raises:
        PopDCLError: the folder cannot be written to.
    """
    try:
        text = _mark_of(folder, _key(make=True))
    except OSError as error:
        logging.getLogger().warning("no key can be kept (%s): --resume will need --trusted", error)
        return
    with written_whole(folder / MARK) as temporary:
        temporary.write_text(text, encoding="ascii")


def check_own(folder: Path) -> None:
    """Check that this user began the search in a folder.

    Raises:
        PopDCLError: the mark is missing, or is another user's or another folder's.
    """
    try:
        own = hmac.compare_digest((folder / MARK).read_bytes(), _mark_of(folder, _key(make=False)).encode())
    except OSError:
        own = False
    if not own:
        raise PopDCLError(
            f"the search in {folder} was not begun there by you, and Ray's record of it could run any code; if you "
            "trust whoever made it, add --trusted"
        )


def _mark_of(folder: Path, key: bytes) -> str:
    return hmac.new(key, os.fsencode(folder.resolve()), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes:
    """This user's secret, made when it is needed first."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = data / "recbole-popdcl" / "key"
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            temporary.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()
