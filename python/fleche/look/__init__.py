"""What people see of caches as HTML: the pieces of pages and of what notebooks show.

What lives here: `markup` (tags, in which all text is escaped), `numbers` (how bytes and times are
written), `tables`, `bars` and `layers` (drawings, as SVG), `pages` (a whole page), `notebooks`
(what `_repr_html_` gives). It knows nothing of calls or caches and may import `_foundation` alone.
A new drawing is a file here; what is drawn is gathered where it is known.
"""
