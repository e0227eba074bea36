"""``results/index.html``: everything that was measured as one page, from the same text as RESULTS.md and the judged papers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from redistill.errors import counted
from redistill.papers.plan import Plan
from redistill.report.figures import forest
from redistill.report.html import Content, Element, el, figure, page, table
from redistill.report.paper import NOT_JUDGED, title_of
from redistill.report.style import svg_text
from redistill.report.web import held
from redistill.report.web_parts import LETTER, WIDTH, sections
from redistill.report.written import elements
from redistill.verdicts.tables import TableVerdict

ByPaper = Mapping[str, tuple[Plan, Sequence[TableVerdict]]]


def front_page(text: str, papers: ByPaper, articles: Sequence[str] = ()) -> str:
    """The page.

    Args:
        text: of RESULTS.md, links as they are at the root. papers: by name, with what was judged. articles: names of papers whose
            article lies in ``results/articles``.
    """
    intro, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    parts: list[tuple[str, list[Content]]] = [("Papers", _papers(papers, articles))]
    for section in rest:
        title, _, body = section.partition("\n")
        parts.append((title, list(map(_placed, elements(_here(body))))))
    head = [el("h1", "Results"), *map(_placed, elements(_here(intro.partition("\n")[2])))]
    return page("redistill: results", head, sections(parts), of="results")


def _here(text: str) -> str:
    """Links of a page at the root, as they are from ``results``."""

    def moved(match: re.Match[str]) -> str:
        place = match[1]
        return f"]({place.removeprefix('results/') if place.startswith('results/') else f'../{place}'})"

    return re.sub(r"\]\((?!\w+:|#)([^)]+)\)", moved, text)


def _placed(element: Element) -> Element:
    """A paragraph that is a picture becomes a figure."""
    if element.tag == "p" and len(element) == 1 and element[0].tag == "img" and not (element.text or element[0].tail or "").strip():
        return el("figure", el("a", element[0], href=element[0].get("src")), el("figcaption", element[0].get("alt")))
    return element


def _papers(papers: ByPaper, articles: Sequence[str]) -> list[Content]:
    rows = []
    drawn: list[Content] = []
    for name, (plan, tables) in papers.items():
        findings = [finding for one in tables for finding in one.findings]
        counts: dict[str, int] = {}
        for finding in findings:
            if finding.verdict != NOT_JUDGED:
                counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
        judged = ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) or "nothing yet"
        link: Content = el("a", "PDF", href=f"articles/{name}.pdf") if name in articles else ""
        page = el("a", name, href=f"../docs/papers/{name}.md")
        rows.append((page, judged, str(len(findings)), link, plan.paper.file.paper.title))
        for number, one in enumerate(tables):
            if plan.paper.table(one.table).metric == "mte":  # no points of accuracy: their own page draws them
                continue
            if rested := [row for finding in one.findings if (row := held(finding)) is not None]:
                of = f"{name}, {title_of(one)}"  # two tables may have a row of one name
                figures = forest(rested, title=f"{of}: ours minus the paper's", width=WIDTH, size=LETTER)
                words = "; ".join(f"{row.name}: {row.words}" for row in rested)
                drawn.append(figure(svg_text(figures, f"Judged claims of {of}", words), f"f-{name}-{number}"))
    caption = f"{counted(len(rows), 'paper')}, their claims, and what became of them"
    made: list[Content] = [table(("paper", "judged", "claims", "article", "title"), rows, caption, numbers=(2,), wide=4)]
    return [*made, el("div", drawn, class_="figures")] if drawn else made
