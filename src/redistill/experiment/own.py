"""Earlier home of :mod:`redistill.user_code`."""

from redistill.user_code import Located, Own, load, locate, parameters
from redistill.user_code import is_code as is_own

__all__ = ["Located", "Own", "is_own", "load", "locate", "parameters"]
