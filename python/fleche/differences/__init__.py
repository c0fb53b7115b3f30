"""Where two values differ: the paths to what their digests tell apart, with both values there.

The digest decides. Two parts of one digest are the same, however unlike they look, and what is
named has two digests: so the answer agrees with the keys of calls.

What lives here: `walk` (down to what differs), `parts` (what a value is made of), `libraries` (the
same for arrays, frames, tables, tensors), `arrays` (elements of arrays), `texts` (how values are
shown). It may import digests and what is below, and knows nothing of caches. A type of another
library is a line in `libraries`.

>>> from fleche.differences import differences
>>> for difference in differences({"lr": 0.1, "layers": [8, 8]}, {"lr": 0.2, "layers": [8]}):
...     print(difference)
value['lr']: was 0.1, is 0.2
len(value['layers']): was 2, is 1
value['layers'][1]: was 8, is not there
"""

from fleche.differences.walk import MISSING, Difference, differences

__all__ = ["MISSING", "Difference", "differences"]
