"""``redistill check``: the promises of a term, yours as well as ours, tried one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from redistill.cli import app
from redistill.cli.options import Json, show_json
from redistill.errors import RedistillError


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A term: ./mine.py:MyTerm, package.module:MyTerm, or a name such as KD.", metavar="TERM")],
    change: Annotated[
        list[str], typer.Option("--set", help="A setting of the term, T=2; may be repeated.", metavar="KEY=VALUE")
    ] = [],  # noqa: B006  typer reads the default and never changes it
    as_json: Json = False,
) -> None:
    """Try the promises of a term.

    Shapes and precisions, one seed one result, the gradient against finite differences in double precision, the theorems that it
    declares, parameters that the optimiser sees, state saved and restored, and the edges: a perfect match, two classes, one image,
    dead features, huge logits, bfloat16. Exit status 1 where one does not hold. The file is run, so it must be one you trust.
    """
    from redistill.core import Term
    from redistill.core.term_settings import made_term, settings_of
    from redistill.settings.change import changed
    from redistill.settings.validation import ValidationErrors
    from redistill.terms import by_name
    from redistill.testing import examine
    from redistill.user_code import is_code, load

    cls: Any = load(name, Path(), kind=Term, trusted=True).object if is_code(name) else by_name(name)
    if not (isinstance(cls, type) and issubclass(cls, Term)):
        raise RedistillError(f"{name} must be a subclass of redistill.Term, it is {cls!r}")
    given = changed({}, change)
    mistakes = ValidationErrors(f"--set of {cls.__name__}", data=given)
    shape = settings_of(cls)  # a class, whose instances need no hash
    mistakes.unknown((), given, tuple(shape.model_fields), f"setting of {cls.__name__}")
    with mistakes.at(()):
        made_term(cls, shape.model_validate(given))
    mistakes.raise_if_any()
    found = examine(lambda: made_term(cls, shape.model_validate(given))[0])
    broken = [one for one in found if one.broken is not None]
    if as_json:
        show_json({"term": cls.__name__, "promises": [{"promise": one.promise, "broken": one.broken} for one in found]})
    else:
        printed: set[str] = set()
        for one in found:
            if one.broken is None:
                print(f"holds   {one.promise}")
            else:  # one mistake often breaks many promises: its reason is said once
                print(f"BROKEN  {one.promise}" + (f"\n        {one.broken}" if one.broken not in printed else "  (as above)"))
                printed.add(one.broken)
        print(f"{cls.__name__}: {len(found) - len(broken)} of {len(found)} promises hold")
    if broken:
        raise typer.Exit(1)
