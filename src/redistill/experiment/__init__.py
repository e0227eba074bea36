"""What is asked: an experiment as a file and as a value, complete before it runs.

``networks``, ``method``, ``source``, ``evaluate``: one section of the file, one module; ``shorthand``: words that stand for several
sections; ``read``: how a file becomes a ``value``; ``length``: how many steps it has, and what they cost.
"""

from redistill.experiment import value as value  # with it a Net is whole: it may name the experiment that makes its weights
