"""Experiments as files and values, their runs on disk, and what trains them so that any moment can be gone on from.

``value`` what an experiment is; ``text``, ``read`` how a file becomes one; ``build`` what it names; ``store``, ``checkpoint`` what
lies on disk; ``work``, ``run`` how one becomes the other; ``trajectory`` whether two runs are the same.
"""



