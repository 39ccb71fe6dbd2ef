"""An explanation of queries in words: what the terminal, Markdown and HTML have in common."""

from __future__ import annotations

from rerank_bench.forensics.records import DocMove, Explanation, Happening, QueryExplanation, Split
from rerank_bench.forensics.truncation import Pair
from rerank_bench.records import POSITIVE_GRADE
from rerank_bench.reporting.formatting import MISSING, VIEW_MEANINGS

SNIPPET_CHARS = 160
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")
"""A terminal would obey them."""

_HAPPENINGS = {
    Happening.left: "no relevant document is left in the top {k}",
    Happening.first_lower: "the first relevant document stands lower",
    Happening.others_lower: "only further relevant documents stand lower",
    Happening.entered: "a relevant document entered the top {k}, where none was",
    Happening.first_higher: "the first relevant document stands higher",
    Happening.others_higher: "only further relevant documents stand higher",
    Happening.equal: "the value is the same",
    Happening.unreachable: "no relevant document is among the candidates",
}


def headline(explanation: Explanation) -> str:
    """Return one line: measure and view."""
    return f"{explanation.measure} · view {explanation.view} ({VIEW_MEANINGS[explanation.view]})"


def side_lines(explanation: Explanation) -> list[tuple[str, str]]:
    """Return (short name, long name) of both sides, then what differs in their settings."""
    lines = [(side.short, side.long) for side in (explanation.before, explanation.after)]
    if explanation.kind == "diff":
        differing = ", ".join(f"{name} {old} → {new}" for name, (old, new) in explanation.settings.items())
        lines.append(("settings", differing or "none of the recorded settings differs"))
    return lines


def describe_happening(happening: Happening, cutoff: int | None) -> str:
    """Return what happened as half a sentence."""
    return _HAPPENINGS[happening].format(k="" if cutoff is None else cutoff)


def describe_fate(explanation: Explanation, query: QueryExplanation) -> str:
    """Return what happened to a query as a sentence, for one of which there is nothing more to say."""
    fate = describe_happening(query.happening, explanation.cutoff)
    return f"{fate[0].upper()}{fate[1:]}."


def query_title(query: QueryExplanation) -> str:
    """Return data set and id."""
    return f"{query.dataset} · {query.query_id}"


def query_text(explanation: Explanation, query: QueryExplanation) -> str | None:
    """Return the query's text, ``None`` where it is not here."""
    return explanation.texts[query.dataset].queries.get(query.query_id)


def doc_text(explanation: Explanation, query: QueryExplanation, doc_id: str) -> str | None:
    """Return a document's whole text, ``None`` where it is not here."""
    return explanation.texts[query.dataset].docs.get(doc_id)


def snippet(text: str, max_chars: int = SNIPPET_CHARS) -> str:
    """Return the beginning of a text on one line; an empty one is named as such."""
    line = " ".join(text[: 4 * max_chars].translate(_CONTROLS).split())
    if not line:
        return "(empty text)"
    return line if len(line) <= max_chars else line[: max_chars - 1].rstrip() + "…"


def describe_query(explanation: Explanation, query: QueryExplanation) -> list[str]:
    """Return why the query's value changed, or is what it is: short sentences, the weightiest first."""
    sentences = []
    if query.happening == Happening.unreachable:
        sentences.append(f"None of its {_count(query.num_relevant, 'relevant document')} is among the candidates.")
    elif query.mover is not None:
        sentences.append(_describe_move(query.mover))
        sentences += _describe_doc(explanation, query, query.mover)
    if query.num_above and query.happening != Happening.unreachable:
        sentences.append(_describe_above(explanation, query))
    sentences += _describe_missed(query)
    return sentences


def _describe_move(doc: DocMove) -> str:
    old, new = doc.before_rank, doc.after_rank
    if new is None:
        moved = f"was at rank {old} and is not in the list"
    elif old is None:
        moved = f"came in at rank {new}"
    else:
        moved = f"{'rose' if new < old else 'fell'} from rank {old} to {new}"
    return f"{doc.doc_id} (grade {doc.grade}) {moved}."


def _describe_doc(explanation: Explanation, query: QueryExplanation, doc: DocMove) -> list[str]:
    sentences = []
    if doc.is_tied:
        sentences.append("Its score equals another document's, so their ids decide the order.")
    text = doc_text(explanation, query, doc.doc_id)
    reader = explanation.readers[query.dataset][1]
    pair = Pair(query.query_id, doc.doc_id, query_text(explanation, query), text)
    if query.delta < 0 and reader.reads_texts and reader.cuts(pair):
        sentences.append(f"{_subject(explanation)} reads {reader.max_length} tokens; the text is longer.")
    same = [d.doc_id for d in query.above if text and doc_text(explanation, query, d.doc_id) == text]
    if same:
        sentences.append(f"{same[0]}, which stands above it, has the same text.")
    return sentences


def _describe_above(explanation: Explanation, query: QueryExplanation) -> str:
    unjudged, judged = query.num_above_unjudged, query.num_above - query.num_above_unjudged
    first = "its first relevant one" if query.num_relevant > 1 else "it"
    if all(doc.after_rank is None for doc in query.relevant):
        first = "any relevant one"
    parts = [f"{unjudged} unjudged"] if unjudged else []
    parts += [f"{judged} judged not relevant"] if judged else []
    where = f" in {explanation.after.short}" if explanation.kind == "diff" else ""
    verb = "stands" if query.num_above == 1 else "stand"
    return f"{_count(query.num_above, 'document')} {verb} above {first}{where}: {', '.join(parts)}."


def _describe_missed(query: QueryExplanation) -> list[str]:
    missed = [doc for doc in query.relevant if doc.first_stage_rank is None and doc.would_be_rank is not None]
    if not missed:
        return []
    best = min(missed, key=lambda doc: doc.would_be_rank or 0)
    return [f"{best.doc_id} is no candidate; its score would have put it at rank {best.would_be_rank}."]


def _subject(explanation: Explanation) -> str:
    return "The model" if explanation.kind == "inspect" else explanation.after.short


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def doc_header(explanation: Explanation) -> tuple[str, ...]:
    """Return the titles of ``doc_cells``."""
    if explanation.kind == "inspect":
        return ("grade", "first", "run", "score")
    return ("grade", "first", "A", "B", "score A", "score B")


def doc_cells(explanation: Explanation, doc: DocMove) -> tuple[str, ...]:
    """Return grade, ranks and scores; a rank in brackets is one that a missed document would have."""
    grade = MISSING if doc.grade is None else str(doc.grade)
    after = _rank(doc.after_rank)
    if doc.after_rank is None and doc.would_be_rank is not None:
        after = f"({doc.would_be_rank})"
    if explanation.kind == "inspect":
        return grade, _rank(doc.first_stage_rank), after, _score(doc.after_score)
    ranks = (_rank(doc.first_stage_rank), _rank(doc.before_rank), after)
    return grade, *ranks, _score(doc.before_score), _score(doc.after_score)


def is_relevant(doc: DocMove) -> bool:
    """Return whether a document is judged positive."""
    return doc.grade is not None and doc.grade >= POSITIVE_GRADE


def describe_lists(query: QueryExplanation) -> str:
    """Return how many documents are not listed, or an empty text."""
    hidden = query.num_relevant - len(query.relevant)
    above = query.num_above - len(query.above)
    parts = [f"{hidden} more relevant"] if hidden else []
    parts += [f"{above} more above {'them' if query.num_relevant > 1 else 'it'}"] if above else []
    return f"not listed: {', '.join(parts)}" if parts else ""


def describe_loss(split: Split | None, label: str) -> str:
    """Return the parts of one query's loss, or an empty text where the best order is not known."""
    if split is None:
        return ""
    lost = split.ideal - split.value
    return f"{label} is {lost:.4f} below the ideal: {split.not_retrieved:.4f} not retrieved, {split.misranked:.4f} misranked"


def _rank(rank: int | None) -> str:
    return MISSING if rank is None else str(rank)


def _score(score: float | None) -> str:
    return MISSING if score is None else f"{score:.4g}"
