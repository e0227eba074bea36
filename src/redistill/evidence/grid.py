"""Tables as papers and READMEs write them: CSV, Markdown, LaTeX, as rows of plain text."""

from __future__ import annotations

import re
from pathlib import Path

from redistill.errors import RedistillError
from redistill.evidence.files import lines_of

Grid = list[list[str]]

WRAPPERS = "textbf|textit|underline|uline|mathbf|bm|boldsymbol|text|emph|makecell|shortstack|bf|textsubscript|mathrm"
"""Commands of LaTeX around an entry that say nothing about its number."""

COLOURS = r"\\(?:textcolor|cellcolor|rowcolor|colorbox|color)(?:\[[^\]]*\])?\{[^{}]*\}(?:\[[^\]]*\])*"
"""Commands of LaTeX whose first argument is a color, and no part of the entry."""

RAISED = (r"<sup>(.*?)</sup>", r"\\textsuperscript\{([^{}]*)\}", r"\^\{([^{}]*)\}", r"\^(\w+)(?![.\w])", "([⁰¹²³⁴-⁹]+)")
"""What stands above the line: a footnote's number or letter there is no digit of the entry."""


def grids(path: Path, text: str) -> list[Grid]:
    """Every table of a file.

    Raises:
        RedistillError: there is none, or its kind is not known.
    """
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        rows = lines_of(text, str(path), "\t" if kind == ".tsv" else ",")
        found = [rows] if rows else []
    elif kind in (".md", ".markdown", ".txt"):
        found = markdown(text)
    elif kind in (".tex", ".latex"):
        found = latex(text)
    else:
        raise RedistillError(
            f"{path}: a table to compare is .csv, .tsv, .md, .tex or .json in our format, not {kind or 'a file without ending'}"
        )
    if not found:
        raise RedistillError(
            f"{path}: holds no table ({'rows between | |' if kind == '.md' else 'a tabular' if kind == '.tex' else 'rows'} are looked for)"
        )
    return [_even([[clean(cell) for cell in row] for row in rows]) for rows in found]


def _even(rows: Grid) -> Grid:
    width = max(len(row) for row in rows)
    return [row + [""] * (width - len(row)) for row in rows]


def clean(text: str) -> str:
    """An entry without the marks of Markdown and LaTeX; what stands on two lines is parted by a slash.

    >>> clean("**73.33**"), clean(r"\\textbf{73.33}$_{\\pm 0.2}$"), clean("WRN-40-2 <br> WRN-16-2"), clean("70.66<sup>†</sup>")
    ('73.33', '73.33 ± 0.2', 'WRN-40-2 / WRN-16-2', '70.66†')
    >>> clean("70.7<sup>2</sup>"), clean(r"70.7$^{a}$"), clean(r"\\cellcolor{gray!20}\\textcolor{red}{70.66}")
    ('70.7', '70.7', '70.66')
    """
    text = re.sub(r"<br\s*/?>|\\\\", " / ", text)
    for raised in RAISED:
        text = re.sub(raised, _raised, text)
    text = re.sub(COLOURS, "", text)
    text = re.sub(r"</?\w+[^>]*>", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\\(?:cite\w*|label|footnote|ref|tnote)\s*(?:\[[^\]]*\])?\{[^{}]*\}", "", text)
    for _ in range(4):
        text = re.sub(rf"\\(?:{WRAPPERS})(?:\[[^\]]*\])?\{{([^{{}}]*)\}}", r"\1", text)
    for mark, sign in ((r"\dagger", "†"), (r"\ddagger", "‡"), (r"\ast", "*"), (r"\star", "*"), (r"\times", "×"), (r"\pm", " ± "),
                       (r"\rightarrow", "->"), (r"\to", "->"), (r"\%", "%"), (r"\_", "_"), (r"\#", "#"), (r"\&", "&")):  # fmt: skip
        text = text.replace(mark, sign)
    text = re.sub(
        r"\\(?:hline|toprule|midrule|bottomrule|cline\{[^}]*\}|cmidrule(?:\([^)]*\))?\{[^}]*\}|centering|small|footnotesize|scriptsize|tiny|"
        r"bfseries|bf|it)\b",
        "",
        text,
    )
    text = text.replace("**", "").replace("__", "").replace("`", "").replace("~", " ")
    text = re.sub(r"[${}^]", "", text)
    text = re.sub(r"(?<=\d)_", " ", text)
    text = re.sub(r"±\s*", "± ", re.sub(r"\s*±", " ±", text))
    return re.sub(r"\s+", " ", text.replace("→", "->")).strip()


def _raised(found: re.Match[str]) -> str:
    """Nothing in the place of a footnote's numbers and letters above a number; all else above the line is kept."""
    if not re.search(r"\d[\s$}*%]*$", found.string[: found.start()]):
        return found[0]
    return "" if re.fullmatch(r"[\s(\[]*(?:\d+|[a-z])(?:\s*,\s*(?:\d+|[a-z]))*[\s)\]]*|[⁰¹²³⁴-⁹]+", found[1], re.I) else found[1]


def markdown(text: str) -> list[Grid]:
    """Tables between bars; the line of dashes is left out."""
    found: list[Grid] = []
    rows: Grid = []
    for line in [*text.splitlines(), ""]:
        if line.strip().startswith("|") or line.count("|") >= 2:
            inner = line.strip().removeprefix("|").removesuffix("|")
            cells = re.split(r"(?<!\\)\|", inner)
            if not all(re.fullmatch(r"\s*:?-+:?\s*", cell) for cell in cells):
                rows.append([cell.strip() for cell in cells])
        elif rows:
            found.append(rows)
            rows = []
    return [grid for grid in found if len(grid) > 1]


def latex(text: str) -> list[Grid]:
    """Tabulars, with cells that span columns repeated."""
    text = re.sub(r"(?<!\\)%.*", "", text)
    found = []
    for body in re.findall(r"\\begin\{tabular[x*]?\}(.*?)\\end\{tabular[x*]?\}", text, re.S):
        body = re.sub(r"^\s*(?:\{[^{}]*\})?\s*\{(?:[^{}]|\{[^{}]*\})*\}", "", body, count=1)
        rows: Grid = []
        above: dict[int, tuple[int, str]] = {}
        # a line break inside an entry (\makecell) is no end of a row
        body = re.sub(r"\\(makecell|shortstack)(?:\[[^\]]*\])?\{([^{}]*)\}", lambda m: m[2].replace("\\\\", "<br>"), body)
        for line in re.split(r"\\\\(?:\[[^\]]*\])?|\\tabularnewline", body):
            line = re.sub(r"\\(?:hline|toprule|midrule|bottomrule)|\\cline\{[^}]*\}|\\cmidrule(?:\([^)]*\))?\{[^}]*\}", "", line)
            if not line.strip():
                continue
            row: list[str] = []
            for cell in re.split(r"(?<!\\)&", line):
                if held := above.get(len(row)):
                    left, words = held
                    if not cell.strip():
                        above[len(row)] = (left - 1, words)
                        if left <= 1:
                            del above[len(row)]
                        row.append(words)
                        continue
                    del above[len(row)]
                if many := re.match(r"\s*\\multirow\{\*?(-?\d+)\}\s*(?:\[[^\]]*\])?\{[^{}]*\}\{(.*)\}\s*$", cell, re.S):
                    above[len(row)] = (abs(int(many[1])) - 1, many[2])
                    row.append(many[2])
                elif many := re.match(r"\s*\\multicolumn\{(\d+)\}\{[^{}]*\}\{(.*)\}\s*$", cell, re.S):
                    row += [many[2]] * int(many[1])
                else:
                    row.append(cell)
            rows.append(row)
        if len(rows) > 1:
            found.append(rows)
    return found
