"""Handing calls on: one signed file with records, values, lineage and code.

What lives here: `format` (what is in such a file), `keys` (who signs, and who is trusted),
`writing`, with `sources` (the text of functions) and `crate` (RO-Crate metadata), `reading` (a file
that is checked before anything of it is unpickled), `checking` (runs calls of a file again). It may
import everything but commands. What else is handed on is a member of the file, named in `format`.

>>> import os, tempfile
>>> from fleche import cache, fleche
>>> from fleche.config import cache_from_config
>>> from fleche.export import SigningKey, export_calls, import_calls
>>> @fleche
... def square(x):
...     return x * x
>>> mine, theirs = (cache_from_config({"template": "memory"}) for _ in range(2))
>>> key = SigningKey.generate()
>>> with tempfile.TemporaryDirectory() as folder:
...     with cache(mine):
...         _ = square(12)
...     path = os.path.join(folder, "squares.fleche")
...     _ = export_calls(mine.query(name="square"), path, key=key)
...     import_calls(path, theirs, trusted={"me": key.public}).taken
1
>>> with cache(theirs):
...     square.contains(12)
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleche._foundation.lazy import names_of

if TYPE_CHECKING:
    from fleche.export.checking import Checked as Checked
    from fleche.export.checking import check_calls as check_calls
    from fleche.export.format import Refused as Refused
    from fleche.export.format import Untrusted as Untrusted
    from fleche.export.keys import SigningKey as SigningKey
    from fleche.export.reading import ExportFile as ExportFile
    from fleche.export.reading import Imported as Imported
    from fleche.export.reading import import_calls as import_calls
    from fleche.export.writing import Exported as Exported
    from fleche.export.writing import export_calls as export_calls

__all__ = [
    "Checked",
    "ExportFile",
    "Exported",
    "Imported",
    "Refused",
    "SigningKey",
    "Untrusted",
    "check_calls",
    "export_calls",
    "import_calls",
]

__getattr__, __dir__ = names_of(
    __name__,
    {
        **dict.fromkeys(("Checked", "check_calls"), "fleche.export.checking"),
        **dict.fromkeys(("Exported", "export_calls"), "fleche.export.writing"),
        **dict.fromkeys(("ExportFile", "Imported", "import_calls"), "fleche.export.reading"),
        **dict.fromkeys(("Refused", "Untrusted"), "fleche.export.format"),
        "SigningKey": "fleche.export.keys",
    },
)
