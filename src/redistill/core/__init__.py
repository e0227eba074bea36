"""The types that everything else speaks, and the contracts between them.

``batch``: what flows. ``places``: where features are read. ``method``: what is minimised. ``source``: where inputs come from.
"""

from typing import TYPE_CHECKING

from redistill._moved import old_names
from redistill.core.batch import Batch as Batch
from redistill.core.batch import Output as Output
from redistill.core.batch import Shape as Shape
from redistill.core.handed import require_taken_over as require_taken_over
from redistill.core.method import Method as Method
from redistill.core.method import Term as Term
from redistill.core.method import numbered as numbered
from redistill.core.method import one_class as one_class
from redistill.core.method import reads_logits as reads_logits
from redistill.core.method import require_common_classes as require_common_classes
from redistill.core.method import require_ready as require_ready
from redistill.core.method import weighted_sum as weighted_sum
from redistill.core.places import At as At
from redistill.core.places import Context as Context
from redistill.core.places import Pair as Pair
from redistill.core.places import Place as Place
from redistill.core.places import describe_places as describe_places
from redistill.core.places import named_places as named_places
from redistill.core.places import pairs_of as pairs_of
from redistill.core.ramp import Ramp as Ramp
from redistill.core.ramp import Weight as Weight
from redistill.core.ramp import WeightTable as WeightTable
from redistill.core.source import ExplainsNonfinite as ExplainsNonfinite
from redistill.core.source import LeavesArtifacts as LeavesArtifacts
from redistill.core.source import Replays as Replays
from redistill.core.source import Source as Source
from redistill.core.source import Stream as Stream
from redistill.core.source import StreamContext as StreamContext
from redistill.core.source import Tabled as Tabled
from redistill.core.summary import Summary as Summary
from redistill.errors import RedistillError as RedistillError
from redistill.errors import nearest as nearest

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
