"""Evidence that exists already: other people's runs read as runs, and other people's tables compared with what they quote.

``model`` a run of somebody's with its source; ``files``, ``columns``, ``logs``, ``stored`` read them; ``names`` the rules by
which names are equal; ``bearing`` the claims of our papers that they bear on, judged as our own; ``settled`` what a log can
settle by itself; ``significance`` reported tests done again; ``audit`` the whole as a page. ``registry`` published numbers with
their sources; ``tables`` reads a quoting table; ``quotes`` compares the two.

Nothing here is about persons: it says what was read where.
"""

from __future__ import annotations



