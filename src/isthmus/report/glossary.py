"""What the terms on a page mean, and where they stand: a tooltip on the first of each."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

__all__ = ["GLOSSARY", "Glossed"]

GLOSSARY: dict[str, tuple[str, str]] = {
    "recall": (
        r"recall@\d+",
        "The share of the right answers of a query that are among its first k results, averaged "
        "over queries. With one right answer: how often it is among the first k.",
    ),
    "overlap": (
        r"overlap@\d+",
        "The share of the old model's first k results that are found again. It says how much "
        "changes, not what is better.",
    ),
    "cmc": (r"cmc@\d+", "How often one right answer at least is among the first k results."),
    "ndcg": (
        r"ndcg@\d+",
        "How far up the right answers stand among the first k results: 1 if they come first.",
    ),
    "mrr": (r"mrr", "One over the rank of the first right answer, averaged over queries."),
    "map": (
        r"map(?= of every| minus|,| is mrr)|mAP",
        "The precision at the rank of each right answer, averaged over answers and queries.",
    ),
    "retention": (
        r"retention",
        "What a way to serve reaches, over what the new model reaches with everything "
        "re-embedded: 100% is all of it.",
    ),
    "update gain": (
        r"update gain",
        "The share of the way from the old model to a full re-embedding that is won without one: "
        "0 is the old model, 1 the re-embedded index.",
    ),
    "interval": (
        r"95 ?% intervals?",
        "Drawn again from the same queries, the value lies between these ends 95 times of 100.",
    ),
    "re-embedded": (r"re-embedded", "Encoded again by the new model."),
    "rescored": (
        r"rescored?|rescoring",
        "The first results are encoded by the new model, and put into its order.",
    ),
    "mixed": (
        r"mix(?:ed)? (?:the )?queries|queries of both models mixed",
        "The old model's query and the mapped query of the new model, weighted and added.",
    ),
    "control": (
        r"control",
        "The bridge with its queries exchanged among each other: what luck finds.",
    ),
    "naive swap": (r"naive swap", "The new model's queries on the old index, without a map."),
    "agreement": (
        r"agreement with the old model",
        "Without known answers a way can only be compared with what the old model finds.",
    ),
    "encodings": (
        r"encodings",
        "Items that the new model has to encode while a query waits; cached: where what was "
        "encoded once is kept, on average over the queries.",
    ),
    "lambda": (
        r"λ|lambda_orthogonal(?:\([^)]*\))?",
        "lambda_orthogonal: the best map within a stated distance λ of a rotation; 0 is the "
        "rotation itself (arXiv:2509.16664).",
    ),
    "csa": (
        r"csa(?:\([^)]*\))?|CSA",
        "Canonical similarity analysis: both spaces are turned to the directions that correlate, "
        "each weighted by its correlation. Its vectors are for search, not for storing.",
    ),
    "procrustes": (
        r"procrustes(?:\([^)]*\))?",
        "The best rotation: lengths and angles of the mapped vectors stay as they are.",
    ),
    "ridge": (
        r"ridge(?:\([^)]*\))?",
        "Least squares with shrinkage: the larger alpha, the nearer the map is to none.",
    ),
    "trust": (
        r"threshold of trust",
        "The probability that a mapped query finds first what the old model finds first.",
    ),
    "cka": (
        r"(?:linear |debiased )?CKA",
        "Centred kernel alignment: how alike two spaces arrange the same items, 0 to 1, whatever "
        "their rotation and scale.",
    ),
    "p": (
        r"p(?=,| is| below|$)",
        "The probability that chance alone comes so close. It has a floor: with n random orders "
        "nothing below 1/(n + 1) can be seen.",
    ),
    "drift by distance": (
        r"mean rank of distance|distance(?= drifted)",
        "Of each vector how far it lies from the middle of the reference, as its rank among "
        "reference vectors, 0 to 1; while nothing drifts, the mean is 0.5.",
    ),
    "drift by length": (
        r"mean rank of length|length(?= drifted)",
        "Of each vector its length, as its rank among reference vectors, 0 to 1; while nothing "
        "drifts, the mean is 0.5.",
    ),
    "drift by classifier": (
        r"mean rank of classifier|classifier(?= drifted)",
        "Of each vector how unlike the reference a linear classifier, learned from earlier "
        "traffic, finds it, as its rank among reference vectors; without drift the mean is 0.5.",
    ),
    "drift by kernel": (
        r"mean rank of kernel|kernel(?= drifted)",
        "Of each vector how unlike the reference a kernel (maximum mean discrepancy) finds it, as "
        "its rank among reference vectors: it sees differences that no plane separates.",
    ),
    "refused": (
        r"refused(?= <=)",
        "The share of the vectors that break the contract of their model.",
    ),
    "overconfidence": (
        r"overconfidence(?= <=)",
        "How much more trust is promised than comes true.",
    ),
    "score thresholds": (
        r"scores\.(?:lenient|strict)(?= <=)",
        "How many first results pass a translated threshold that the old one would stop "
        "(lenient), or the other way round (strict).",
    ),
    "popularity": (
        r"[Pp]opularity",
        "The items that earlier queries find or click most come first; by the error: those of "
        "them first that the bridge maps worst.",
    ),
    "hubness": (
        r"[Hh]ub(?:s|ness)",
        "A hub is an item that is among the nearest of very many others.",
    ),
    "effective rank": (
        r"effective rank",
        "How many directions the variance is spread over, as the exponential of its entropy.",
    ),
}
"""For each term the pattern that finds it in the text of a page, and what it means."""


def _key(word: str) -> str:
    return f"word-{re.sub(r'[^a-z0-9]+', '-', word.lower())}"


class Glossed:
    """Marks the first place of each term on one page; text is escaped on the way.

    Example:
        >>> glossed = Glossed()
        >>> "<b>" in glossed("recall@10 of <b>"), glossed.used
        (False, ['recall'])
    """

    def __init__(self) -> None:
        self._open = dict(GLOSSARY)
        self.words: dict[str, str] = {}

    @property
    def used(self) -> list[str]:
        """The terms that were found so far."""
        return list(self.words)

    @property
    def entries(self) -> list[tuple[str, str, str]]:
        """Of each the key on the page, what it is written as there, and what it means."""
        found = [(_key(word), word, GLOSSARY[name][1]) for name, word in self.words.items()]
        return sorted(found, key=lambda entry: entry[1].casefold())

    def __call__(self, text: str) -> Markup:
        """The text, escaped, with its new terms marked."""
        found: list[tuple[int, int, str]] = []
        for name, (pattern, _) in self._open.items():
            match = re.search(rf"(?<![\w@./-])(?:{pattern})(?![\w/-]|\.\w)", text)
            if match and not any(a < match.end() and match.start() < b for a, b, _ in found):
                found.append((match.start(), match.end(), name))
        made, at = Markup(""), 0
        for start, end, name in sorted(found):
            word, (_, meaning) = text[start:end], self._open.pop(name)
            self.words[name] = word.partition("(")[0]
            made += escape(text[at:start])
            made += Markup(
                '<span class="term" tabindex="0" aria-describedby="{}" data-tip="{}">{}</span>'
            ).format(_key(self.words[name]), meaning, word)
            at = end
        return made + escape(text[at:])
