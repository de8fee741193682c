"""Reading the text of a CMV resistance result: mutations in any notation, calls on drugs, and what was not found.

Pure functions over one text. What looks like a finding and cannot be read is kept as unread with the reason; nothing is
taken as susceptible because it could not be read. The words are in mappings/resistance/reading.yaml.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from cdshooks.medicine.mutations import Mutations
from cdshooks.medicine.rules.resistance import ReadingRule
from cdshooks.model import Call, Change, Coverage, Reading

_THREE = {
    "ala": "A", "arg": "R", "asn": "N", "asp": "D", "cys": "C", "gln": "Q", "glu": "E", "gly": "G", "his": "H",
    "ile": "I", "leu": "L", "lys": "K", "met": "M", "phe": "F", "pro": "P", "ser": "S", "thr": "T", "trp": "W",
    "tyr": "Y", "val": "V", "ter": "*", "stop": "*", "xaa": "X",
}  # fmt: skip
_AMINO_ACIDS = frozenset("ACDEFGHIKLMNPQRSTVWY")
_LONGEST_TEXT = 20_000  # characters; a report is shorter, and endless text must not cost endless time
_LIST_TEXT = 300  # characters; a longer text is prose, in which not every word has to be a finding
_BRIEF_TEXT = 60  # characters in which a word such as "failed" speaks of the test
_LONGEST_LESSON = 150  # characters of a general statement up to "resistance"
_LONGEST_EXCHANGE = 30  # characters from a codon to the arrow of its exchange: "codon 594 of UL97: GCG>GTG"
_SPAN_READ = 20  # codons; a span of more, without "del", is what an assay read


def merged(first: Reading, second: Reading) -> Reading:
    """What both say, each statement once. A gene in which something was found is not clear."""
    changes = _each_once((*first.changes, *second.changes))
    present = {(change.gene, change.change) for change in changes}
    genes = {change.gene for change in changes}
    return Reading(
        changes=changes,
        absent=tuple(c for c in _each_once((*first.absent, *second.absent)) if (c.gene, c.change) not in present),
        calls=_once(first.calls, second.calls),
        clear=tuple(gene for gene in _once(first.clear, second.clear) if gene not in genes and (gene or not genes)),
        failed=_once(first.failed, second.failed),
        covered=_once(first.covered, second.covered),
        unread=_once(first.unread, second.unread),
    )


_Item = TypeVar("_Item")


def _once(first: tuple[_Item, ...], second: tuple[_Item, ...]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _each_once(changes: Iterable[Change]) -> tuple[Change, ...]:
    """The same change told twice is one; what either mention says of a mixture is kept."""
    found: dict[tuple[str, str], Change] = {}
    for change in changes:
        key = (change.gene, change.change)
        first = found.setdefault(key, change)
        found[key] = replace(
            first,
            mixture=first.mixture or change.mixture,
            share=first.share or change.share,
            inferred=first.inferred and change.inferred,
        )
    return tuple(found.values())


# --------------------------------------------------------------------------------------------------------------------
# Tokens


_NOT_IN_WORD, _ENDS = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
_NAMED = "(?i:" + "|".join(_THREE) + ")"
_LETTER = rf"(?:{_NAMED}|[A-Za-z])"
_TO = r"\s*(?:-|_|to|through)\s*"
_CODON_WORD = r"(?i:codons?|amino\s?acids?|aa|residues?|positions?)"
_P = r"(?:p\.\s?)?[(\[]?"

_NOTATIONS = {  # in order of precedence
    "dna": rf"{_NOT_IN_WORD}c\.\s?[(\[]?(?P<d1>\d+)(?:_(?P<d2>\d+))?\s?"
    r"(?:(?P<d_old>[ACGTacgt]+)\s?>\s?(?P<d_new>[ACGTacgt]+)|(?P<d_op>delins|del|ins|dup)[ACGTacgt]*)[)\]]?",
    "genomic": rf"{_NOT_IN_WORD}[gmn]\.\s?\d+\S*",
    "frameshift": rf"{_NOT_IN_WORD}{_P}(?P<f_old>{_LETTER})(?P<f1>\d{{1,4}}){_LETTER}?\s?(?i:fs|frame\s?shift)"
    r"(?:(?:\*|X|Ter)\d*)?[)\]]?",
    "deletion": rf"{_NOT_IN_WORD}(?i:del(?:etions?)?|Δ)[\s:.-]*(?i:(?:of|at|in)\s+)?(?i:the\s+)?(?:{_CODON_WORD}\s*)?"
    rf"(?P<a_old>{_LETTER})?(?P<a1>\d{{1,4}})(?:{_TO}(?P<a_old2>{_LETTER})?(?P<a2>\d{{1,4}}))?(?![A-Za-z0-9%]|\s?(?i:codons|amino|residues|bp|base|nucleotide))",
    "deleted": rf"{_NOT_IN_WORD}{_P}(?P<b_word>{_CODON_WORD}\s*)?(?P<b_old>{_LETTER})?(?P<b1>\d{{1,4}})"
    rf"(?:{_TO}(?P<b_old2>{_LETTER})?(?P<b2>\d{{1,4}}))?\s*-?"
    rf"(?P<b_op>(?i:del(?:etions?|eted|ins[A-Z]*)?|(?:is|are) deleted))[)\]]?{_ENDS}",
    "insertion": rf"{_NOT_IN_WORD}{_P}(?P<i_old>{_LETTER})?(?P<i1>\d{{1,4}})(?:_{_LETTER}?\d{{1,4}})?\s?"
    rf"(?i:ins|dup)[A-Za-z]*[)\]]?{_ENDS}",
    "worded": rf"{_NOT_IN_WORD}(?P<w_kind>(?i:insertion|frame\s?shift|stop|deletion))"
    r"(?i:\s+(?:codon|mutation|variant|change))?"
    rf"\s*(?i:\(|at|in|of)\s*(?:{_CODON_WORD})\s*(?P<w1>\d{{1,4}})\)?{_ENDS}",
    "named": rf"{_NOT_IN_WORD}{_P}(?P<n_old>{_NAMED}|[A-Z])[\s-]?(?P<n1>\d{{1,4}})\s?>?(?P<n_new>{_NAMED}|=|\*)"
    rf"(?P<n_more>(?:\s?/\s?(?:{_NAMED}|[A-Z]{_ENDS}))*)[)\]]?{_ENDS}",
    "letters": rf"{_NOT_IN_WORD}{_P}(?P<o_old>[A-Za-z])(?P<o1>\d{{1,4}})(?:\s?[\[(>])?"
    rf"(?P<o_new>[A-Za-z*](?:/?(?!(?i:wt){_ENDS})[A-Za-z*]){{0,5}})[)\]]?{_ENDS}",
    "spaced": rf"{_NOT_IN_WORD}(?P<p_old>[A-Z])[ -]?(?P<p1>\d{{2,4}})[ -](?P<p_new>[A-Z](?:/[A-Z])*){_ENDS}",
    "exchange": rf"(?<![\w.-])(?:{_CODON_WORD}\s*)?(?P<e1>\d{{1,4}})\s*[:(,=]?\s*"
    rf"(?P<e_old>{_NAMED}|[A-Z])\s*(?:>|(?i:to))\s*(?P<e_new>{_NAMED}|[A-Z]|\*)[)]?{_ENDS}",
    "bare": rf"(?<![\w.-])(?P<q1>\d{{2,4}})(?P<q_new>[A-Z*](?:/[A-Z*])*){_ENDS}",
    "gene": r"(?<![A-Za-z0-9])(?:HCMV\s?|CMV\s?)?p?(?:UL|ul|Ul)[\s-]?(?P<g>\d{1,3})(?![0-9])",
    "range": rf"(?<![\w.-])(?:{_CODON_WORD}\s*:?\s*)?(?P<r1>\d{{1,4}}){_TO}(?P<r2>\d{{1,4}})(?![\w%-])",
    "codon": rf"{_NOT_IN_WORD}(?i:codons?|residues?|amino\s?acids?)\s*(?P<k1>\d{{1,4}})(?![A-Za-z0-9%])",
    "share": r"(?<![\w.])(?P<s>\d{1,3}(?:\.\d+)?)\s?%",
    "wild_mix": r"(?:[/+]|(?i:mixed\s+with|mixture\s+with|and|with|plus))\s*(?i:wt|wild[\s-]?type)(?![A-Za-z0-9])",
    "break": r"[;\n\r•]|\.(?=\s|$)",
}
_CHANGES = (
    "dna",
    "genomic",
    "frameshift",
    "deletion",
    "deleted",
    "insertion",
    "worded",
    "named",
    "letters",
    "spaced",
    "exchange",
    "bare",
)


class _Token(NamedTuple):
    kind: str
    start: int
    end: int
    match: re.Match[str]

    @property
    def text(self) -> str:
        return self.match[0].strip()


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """The words and notations, compiled, with what is known of each gene."""

    mutations: Mutations
    rule: ReadingRule
    tokens: re.Pattern[str]
    kinds: Mapping[str, str]  # phrase without spaces and hyphens -> what it is
    drug_of: Mapping[str, str]
    ours: re.Pattern[str]
    others: re.Pattern[str]
    about: re.Pattern[str]
    gene: re.Pattern[str]
    noun_of: re.Pattern[str]
    asked: re.Pattern[str]
    teaches: re.Pattern[str]
    teaching: re.Pattern[str]
    contrast: re.Pattern[str]
    back: re.Pattern[str]
    elsewhere: re.Pattern[str]
    answers: re.Pattern[str]
    brief: frozenset[str] = field(default_factory=frozenset)

    def drugs_in(self, text: str) -> tuple[str, ...]:
        """The drugs that a text names, each once."""
        found = (self._drug(token) for token in self.read(plain(text)) if token.kind == "drug")
        return tuple(dict.fromkeys(found))

    def genes_in(self, text: str) -> tuple[str, ...]:
        """The genes that a text names, each once; those that are not judged too."""
        return tuple(dict.fromkeys(f"UL{match['g']}" for match in self.gene.finditer(plain(text))))

    def read(self, text: str) -> Iterator[_Token]:
        """The tokens of a plain text, left to right."""
        for match in self.tokens.finditer(text):
            kind = next(name for name in (*_NOTATIONS, "word", "letter") if match[name] is not None)
            if kind == "word":
                kind = self.kinds[_key(match["word"])]
                is_noun = kind in ("susceptible", "possible", "resistant") and match["word"].lower().endswith("ance")
                if is_noun and self.noun_of.match(text, match.end()):  # "no resistance-associated mutations"
                    kind = "denying" if kind == "susceptible" else "label"
            yield _Token(kind, match.start(), match.end(), match)

    def _drug(self, token: _Token) -> str:
        return self.drug_of[_key(token.text)]


def plain(text: str) -> str:
    """Text for reading: plain dashes, arrows and spaces, no invisible characters."""
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
        text = re.sub(r"[‐‑‒–—−]", "-", text)  # noqa: RUF001
        text = text.replace("→", ">").replace("∆", "Δ")
    text = re.sub(r"-+>", ">", text)
    text = re.sub(r"[^\S\n]+", " ", text.replace("\r\n", "\n").replace("\r", "\n"))[:_LONGEST_TEXT]
    return re.sub(r"((?:UL|ul|Ul)\d{2})(?=[A-Z]\d)", r"\1 ", text)


def _key(words: str) -> str:
    return re.sub(r"[\s-]+", "", words.casefold())


def _phrase(words: str) -> str:
    return re.escape(words).replace(r"\-", r"[-\s]?").replace(r"\ ", r"\s+").replace(" ", r"\s+")


def _any_of(phrases: Iterable[str]) -> str:
    longest_first = sorted(set(phrases), key=lambda words: (-len(words), words))
    return rf"{_NOT_IN_WORD}(?i:{'|'.join(map(_phrase, longest_first))}){_ENDS}"


def make_lexicon(rule: ReadingRule, mutations: Mutations, drug_names: Mapping[str, Iterable[str]]) -> Lexicon:
    """From mappings/resistance/reading.yaml; `drug_names` are the names of each drug of the data."""
    drugs = {name: drug for drug, names in drug_names.items() for name in names}
    drugs |= {name: drug for drug, names in rule.drugs.items() for name in names}
    groups: dict[str, Iterable[str]] = {  # a phrase of two groups belongs to the later one
        "mixture": rule.mixture,
        "affirmed": rule.affirmed,
        "mutation": rule.mutation,
        "hedge": rule.hedges,
        "noun": rule.noun,
        "suspected": rule.suspected,
        "caveat": rule.caveat,
        "remainder": rule.remainder,
        "listed": rule.listed,
        "sought": rule.sought,
        "common": rule.common,
        "except": rule.except_,
        "denying": rule.denying,
        "denied": rule.denied,
        "none": rule.none,
        "undetermined": (*rule.calls.undetermined, *rule.brief_undetermined),
        "possible": rule.calls.possible,
        "susceptible": rule.calls.susceptible,
        "resistant": rule.calls.resistant,
        "break": (*rule.breaks, *rule.contrasts),
        "drug": drugs,
    }
    words = [words for phrases in groups.values() for words in phrases]
    notations = [
        f"(?P<{kind}>{pattern})" if kind != "break" else f"(?P<break>{pattern})" for kind, pattern in _NOTATIONS.items()
    ]
    letter = r"(?P<letter>(?<=[:=\s(\-])(?:R|S|I)(?![A-Za-z0-9/]|\.\w))"
    return Lexicon(
        mutations=mutations,
        rule=rule,
        tokens=re.compile("|".join([*notations, f"(?P<word>{_any_of(words)})", letter])),
        kinds={_key(phrase): kind for kind, phrases in groups.items() for phrase in phrases},
        drug_of={_key(name): drug for name, drug in drugs.items()},
        ours=re.compile(_any_of(rule.viruses.ours)),
        others=re.compile(_any_of(rule.viruses.others)),
        about=re.compile(_any_of(rule.about)),
        gene=re.compile(_NOTATIONS["gene"]),
        noun_of=re.compile(rf"[\s-]*(?:{_any_of(rule.noun_of)})"),
        asked=re.compile(rf"(?:{_any_of(rule.asked)})\W*(?:\w+\W+){{0,2}}$"),
        teaches=re.compile(
            rf"(?:(?P<these>{_any_of(rule.these)})\s+)?(?:[\w/-]+\s+){{0,2}}?{_any_of(rule.many)}"
            rf"[^.;\n:]{{0,60}}?{_any_of(rule.teaching)}[^.;\n:]{{0,40}}$"
        ),
        teaching=re.compile(_any_of(rule.teaching)),
        contrast=re.compile(_any_of(rule.contrasts)),
        back=re.compile(_any_of(rule.back)),
        elsewhere=re.compile(rf"\d|{_any_of(rule.elsewhere)}"),
        answers=re.compile(_any_of(rule.answers)),
        brief=frozenset(map(_key, rule.brief_undetermined)),
    )


# --------------------------------------------------------------------------------------------------------------------
# Reading


def read_text(
    text: str,
    lexicon: Lexicon,
    *,
    genes: tuple[str, ...] = (),
    drugs: tuple[str, ...] = (),
    of_resistance: bool = False,
) -> Reading:
    """What a text says. `genes` and `drugs` are what the code of the result names.

    `of_resistance`: the code asks for resistance, so that "detected" alone means resistance.
    """
    said = plain(text)
    brief = len(said) <= _BRIEF_TEXT
    tokens = [t for t in lexicon.read(said) if brief or _key(t.text) not in lexicon.brief]
    found = Reading()
    heading, coded = genes, bool(genes)
    prose = len(said) > (_LIST_TEXT if genes or drugs else _BRIEF_TEXT)
    walks: list[_Walk] = []
    for start, end, clause in _clauses(tokens, len(said)):
        if any(t.kind == "caveat" for t in clause) and not any(t.kind in _CHANGES for t in clause):
            continue  # "the absence of mutations does not exclude resistance"
        walk = _Walk(said, lexicon, heading, coded=coded)
        for token in clause:
            walk.take(token)
        walk.close()
        heading = walk.genes
        walk.clause = clause
        if clause:
            _answer(walks, clause, said[start:end], lexicon)
            walks.append(walk)
    _doubt_lessons(walks, said, lexicon)
    _doubt_unanswered(walks)
    for walk in walks:
        read = walk.reading()
        of_a_drug = any(token.kind == "drug" for token in walk.clause) or (bool(drugs) and not genes)
        if of_a_drug:  # then it speaks of the genes that it names, not of all, nor of those of an earlier clause
            told = walk.stated or coded
            failed = tuple(entry for entry in read.failed if entry[0] and told)
            read = replace(read, clear=tuple(filter(None, read.clear)) if told else (), failed=failed)
        found = merged(found, read)
        calls = _calls(said, walk.clause, lexicon, drugs, walk.genes, of_resistance=of_resistance, prose=prose)
        if walk.is_example and not read.changes:  # "... confers ganciclovir resistance but was not found"
            kept = (c for c in calls.calls if c.says not in ("resistant", "possible") or not _is_noun(c, lexicon))
            calls = replace(calls, calls=tuple(kept))
        found = merged(found, calls)
    found = _without_repetition(_without_empty_calls(found))
    if coded and len(said) <= _LIST_TEXT:
        found = merged(found, Reading(unread=tuple(_left_over(said, tokens))))
    covered = tuple(
        Coverage(gene, *codons)
        for assay in lexicon.rule.assays
        if any(re.search(_any_of([words]), said) for words in assay.words)
        for gene, codons in assay.covers.items()
    )
    return merged(found, Reading(covered=covered))


def holds_a_change(text: str, lexicon: Lexicon) -> bool:
    """Does a text hold what is written like a change, whatever is said of it?"""
    return any(token.kind in _CHANGES for token in lexicon.read(plain(text)))


def _clauses(tokens: Iterable[_Token], length: int) -> Iterator[tuple[int, int, list[_Token]]]:
    """Each clause with where it starts (at the word that breaks it off) and ends."""
    start, clause = 0, list[_Token]()
    for token in tokens:
        if token.kind == "break":
            yield start, token.start, clause
            start, clause = token.start, []
        else:
            clause.append(token)
    yield start, length, clause


def _answer(before: "list[_Walk]", clause: list[_Token], text: str, lexicon: Lexicon) -> None:
    """What a clause that names nothing itself says of what was named before it.

    "Looked for: A594V, L595S. None was found." A list that was looked for takes the answer; so does what "it" or "but"
    refers to. Where a plain statement is followed by a plain denial it is left open which of them holds.
    """
    kinds = {token.kind for token in clause}
    names_something = kinds & {*_CHANGES, "codon", "gene", "drug", "remainder", "except", "range", "mixture", "share"}
    headed = re.match(r"[^\w:]*([\w ()/-]+):", text)  # "Comment: none"
    if headed and not lexicon.answers.search(headed[1]):
        return
    if not before or names_something or lexicon.elsewhere.search(text):
        return
    denied = bool(kinds & {"denied", "none"} or {"denying", "affirmed"} <= kinds)
    affirmed = "affirmed" in kinds and not denied
    last = before[-1]
    if last.sought:
        if denied:
            last.decide(last.sought, absent=True)
        elif affirmed:
            last.affirm_sought()
        return
    if not denied:
        return
    contrast = lexicon.contrast.match(text)
    refers = contrast or lexicon.back.search(text)
    for walk in reversed(before):
        stated = [mention for mention in walk.done if not mention.absent]
        if not stated or (walk is not last and any(token.kind not in _CHANGES for token in walk.clause)):
            break
        for mention in stated:
            if mention.affirmed and not contrast:
                return  # "A594V detected. None besides"
            mention.absent = bool(refers) and not mention.affirmed
            mention.uncertain = not mention.absent
        walk.is_example = True


def _doubt_lessons(walks: "list[_Walk]", said: str, lexicon: Lexicon) -> None:
    """Where nothing was found in a gene, a lesson on one of its changes ("A594V confers ...") is no sure finding."""
    for walk in walks:
        others = [w for w in walks if w is not walk and not any(token.kind == "drug" for token in w.clause)]
        clear = {gene for other in others for genes in other.clear for gene in genes}
        if not clear or not walk.clause or not lexicon.teaching.search(said, walk.clause[0].end, walk.clause[-1].end):
            continue
        for mention in walk.done:
            if not mention.affirmed and not mention.absent and clear & {"", *mention.genes}:
                mention.uncertain = walk.is_example = True


def _doubt_unanswered(walks: "list[_Walk]") -> None:
    """What was looked for, and no word says whether it was found."""
    settled = {_key(mention.token.text) for walk in walks for mention in walk.done}
    clear = {gene for walk in walks for genes in walk.clear for gene in genes}
    for walk in walks:
        for mention in list(walk.sought) if walk.asks else ():
            if _key(mention.token.text) not in settled and not clear & {"", *mention.genes}:
                walk.decide([mention], uncertain=True)


def _is_noun(call: Call, lexicon: Lexicon) -> bool:
    return _key(call.written) in map(_key, lexicon.rule.noun)


def _without_empty_calls(found: Reading) -> Reading:
    """A call without a drug counts only where no call names one and no mutation is told."""
    if any(call.drug for call in found.calls) or found.changes:
        return replace(found, calls=tuple(call for call in found.calls if call.drug))
    return found


def _without_repetition(found: Reading) -> Reading:
    """A bare "codon 594", or a mutation not named, tells nothing beside the change that it speaks of."""
    named = {(change.gene, change.codons[0]) for change in found.changes if change.kind not in ("codon", "unnamed")}
    genes = {gene for gene, _ in named}
    kept = tuple(
        change
        for change in found.changes
        if not (change.kind == "codon" and (change.gene, change.codons[0]) in named)
        and not (change.kind == "unnamed" and change.gene in genes)
    )
    return replace(found, changes=kept)


def _left_over(said: str, tokens: list[_Token]) -> Iterator[str]:
    """Items of a list in which nothing was recognised, though a number in them may name a codon."""
    start = 0
    for part in re.split(r"[,;\n]", said):
        end = start + len(part)
        if re.search(r"[A-Za-z*?]\s?\d{2,4}|\d{2,4}\s?[A-Za-z*?]", part) and not any(
            token.start < end and token.end > start for token in tokens if token.kind != "break"
        ):
            yield f'"{part.strip()[:40]}" could not be read'
        start = end + 1


@dataclass(slots=True)
class _Mention:
    """A change as it stands in the text."""

    token: _Token
    genes: tuple[str, ...]
    stated: bool  # the gene stands in the same clause, or is the code's
    mixture: str = ""
    share: str = ""
    absent: bool = False
    undetermined: bool = False
    affirmed: bool = False  # by a word, not by standing there alone
    uncertain: bool = False  # may be read as found and as not found


class _Walk:
    """One clause, read from left to right."""

    def __init__(self, said: str, lexicon: Lexicon, heading: tuple[str, ...], *, coded: bool) -> None:
        self.said, self.lexicon, self.genes, self.coded = said, lexicon, heading, coded
        self.stated = False
        self.pending: list[_Mention] = []
        self.done: list[_Mention] = []
        self.clear: list[list[str]] = []
        self.failed: list[tuple[str, str]] = []
        self.covered: list[Coverage] = []
        self.denying = self.noun = self.affirmed = self.listing = self.clear_open = False
        self.remainder = self.rest = False  # "no other ...", and said of genes besides
        self.of_mutations = False
        self.last: _Token | None = None
        self.clause: list[_Token] = []
        self.sought: list[_Mention] = []  # looked for, or named as an example: no finding until a word says so
        self.is_example = self.asks = False
        self.common: _Token | None = None  # "the commonest mutations", which may be listed behind it

    def take(self, token: _Token) -> None:
        gap = self.said[self.last.end : token.start] if self.last else ""
        if token.kind in _CHANGES:
            mention = _Mention(token, self.genes, self.stated or self.coded)
            mention.uncertain = bool(re.match(r"\s?\?", self.said[token.end :]))
            if not self.pending and not self.affirmed and not self.denying and not self.done:
                self.listing = self.listing or _teaches(self.said[: token.start], self.lexicon)
                self.listing = self.listing or (
                    self.common is not None and bool(_ARE.search(self.said, self.common.end, token.start))
                )
            self.is_example = self.is_example or self.listing
            (self.sought if self.listing else self.pending).append(mention)
        elif handler := getattr(self, f"_{token.kind}", None):
            handler(token, gap)
        if token.kind not in ("gene", "range"):
            self.clear_open = token.kind in ("none", "affirmed", "denied", "mutation") and bool(self.clear)
        codons_of_gene = token.kind == "range" and self.last and self.last.kind == "gene"
        self.last = token._replace(kind="gene") if codons_of_gene else token

    def close(self) -> None:
        if self.pending:
            self._flush(self.denying)
        elif self.denying and self.noun and not self.remainder:
            self.clear.append(list(self.genes) or [""])
        if self.rest and self.stated:  # of a gene in which something was found it does not count
            self.clear.append(list(self.genes))

    def reading(self) -> Reading:
        found = Reading(
            clear=tuple(gene for genes in self.clear for gene in genes),
            failed=tuple(self.failed),
            covered=tuple(self.covered),
        )
        for mention in self.done:
            if mention.token.kind != "codon" or self._is_change(mention.token):
                found = merged(found, _resolve(mention, self.lexicon))
        if self.affirmed and self.noun and not self.done and not self.clear and not self.listing:
            unnamed = (Change(gene, "unnamed change", (0, 0), "unnamed", "mutation detected") for gene in self.genes)
            found = merged(found, Reading(changes=tuple(unnamed)))
        return found

    def _is_change(self, codon: _Token) -> bool:
        """Does a bare codon stand for a change: by a word, as the whole answer, or by an arrow behind it?"""
        behind = self.said[codon.end : codon.end + _LONGEST_EXCHANGE]
        return self.of_mutations or (self.coded and len(self.said) <= _BRIEF_TEXT) or ">" in behind

    def _flush(self, absent: bool, *, affirmed: bool = False) -> None:
        for mention in self.pending:
            mention.absent, mention.affirmed = absent, affirmed and not absent
        self.done += self.pending
        self.pending = []

    def decide(self, mentions: Iterable[_Mention], *, absent: bool = False, uncertain: bool = False) -> None:
        """Settle what was looked for."""
        for mention in list(mentions):
            mention.absent, mention.uncertain, mention.affirmed = absent, uncertain, not absent and not uncertain
            self.sought.remove(mention)
            self.done.append(mention)

    def affirm_sought(self) -> None:
        """Something that was looked for was found: sure where one change was, or where it is named again."""
        names = [_key(mention.token.text) for mention in self.sought]
        one = len(set(names)) == 1
        again = [m for m, name in zip(self.sought, names, strict=True) if one or names.count(name) > 1]
        self.decide(again or self.sought, uncertain=not again)

    def _nothing_found(self) -> None:
        if self.remainder:
            self.remainder, self.rest = False, True
        else:
            self.clear.append(list(self.genes) or [""])

    def _gene(self, token: _Token, gap: str) -> None:
        gene = f"UL{token.match['g']}"
        linked = bool(re.search(r"(?:\b(?:in|of|within|for|from)\b(?:\s+the)?|\()\s*$", gap))
        listed = bool(re.fullmatch(r"\s*\)?\s*(?:gene)?\s*(?:,|/|&|\+|\band\b|\bor\b|,\s*and\b)?\s*", gap))
        if self.last and self.last.kind == "gene" and listed:
            self.genes = (*self.genes, gene)
            if self.clear_open:
                self.clear[-1].append(gene)
            return
        if self.clear_open and linked:
            self.clear[-1] = [gene]
        elif linked and (orphans := [mention for mention in (*self.done, *self.pending) if not mention.stated]):
            for mention in orphans:
                mention.genes, mention.stated = (gene,), True
            return  # "A594V (UL97), V715M (UL54)": no heading
        else:
            self.clear_open = False
            if self.denying and self.noun and not linked and not self.pending:
                self._nothing_found()
                self.denying = self.noun = False
            elif self.pending:
                self._flush(self.denying)
                self.denying = self.denying and bool(re.search(r"\b(?:or|nor)\b", gap))
        self.genes, self.stated = (gene,), True

    def _denying(self, token: _Token, gap: str) -> None:
        if self.pending and _is_answer(self.said, token, gap):
            self._flush(absent=True)
            return
        if self.pending and not self.denying:  # "A594V, L595S: did not reveal any of these"
            of_these = re.match(r"\s*(?:(?:any|either|all|one)\s+of\s+)?", self.said[token.end :])
            refers = of_these and self.lexicon.back.match(self.said, token.end + of_these.end())
            self._flush(absent=bool(refers))
        self.denying, self.noun = True, False

    def _except(self, token: _Token, gap: str) -> None:
        self.denying = self.noun = False

    def _remainder(self, token: _Token, gap: str) -> None:
        if self.pending and not self.denying:
            self._flush(absent=False)
        self.remainder = True

    def _mutation(self, token: _Token, gap: str) -> None:
        self.noun = self.of_mutations = True

    def _noun(self, token: _Token, gap: str) -> None:
        self.noun = self.noun or self.denying

    def _affirmed(self, token: _Token, gap: str) -> None:
        if self.pending:
            self._flush(self.denying, affirmed=True)
        elif self.sought and not self.remainder and not self.denying:
            if _ANSWERS.match(gap):  # not "detects A594V if present"
                self.affirm_sought()
        elif self.listing and self.last and self.last.kind == "sought" and re.fullmatch(r"\W*(?:and)?\W*", gap):
            self.listing, self.affirmed = False, True  # "looked for and found: A594V"
            return
        elif self.remainder or (self.denying and self.noun):  # "no other mutations detected"
            self._nothing_found()
            self.decide(self.sought, absent=True)
        elif not self.denying:
            self.affirmed = True
            self.noun = self.noun or (self.coded and len(self.said) <= _BRIEF_TEXT)
            return
        self.denying = self.noun = False

    def _denied(self, token: _Token, gap: str) -> None:
        if self.pending:
            self._flush(absent=not _of_another(gap))
        elif self._more_follows(token):
            self.denying, self.noun = True, True
            return
        elif not self.done or self.listing:
            if not (self.sought and "(" in gap):  # of one of those looked for: "A594V (not detected)"
                self._nothing_found()
            self.decide(self.sought, absent=True)
        self.denying = self.noun = False

    def _none(self, token: _Token, gap: str) -> None:
        if not self.pending and re.match(r"\s+of\b", self.said[token.end :]):  # "none of the mutations A594V, L595S"
            self.denying = self.noun = True
            return
        wild = _key(token.text) in {_key(words) for words in self.lexicon.rule.wild_type}
        if self.remainder:
            self.remainder, self.rest = False, True
        elif self.pending and _of_another(gap):
            self._flush(absent=False)
        elif self.pending:
            self._flush(absent=not (wild and "," in gap))
        elif self._more_follows(token):
            self.denying, self.noun = True, True
            return
        else:
            self._nothing_found()
            self.decide(self.sought, absent=True)
        self.denying = self.noun = False

    def _undetermined(self, token: _Token, gap: str) -> None:
        if self.pending:
            for mention in self.pending:
                mention.undetermined = True
            self._flush(absent=False)
        elif not self.done or self.stated:
            self.failed += [(gene, token.text) for gene in self.genes or ("",)]

    def _listed(self, token: _Token, gap: str) -> None:
        if self.pending:
            self._flush(self.denying)
        self.listing = True

    def _common(self, token: _Token, gap: str) -> None:
        self.common = token

    def _sought(self, token: _Token, gap: str) -> None:
        self.asks = True
        if self.pending and not self.denying:  # "A594V and L595S were looked for"
            self.sought, self.pending, self.is_example = [*self.sought, *self.pending], [], True
        else:
            self._listed(token, gap)

    def _share(self, token: _Token, gap: str) -> None:
        if mention := self._latest(token):
            mention.share = f"{token.match['s']} %"

    def _mixture(self, token: _Token, gap: str) -> None:
        if mention := self._latest(token):
            mention.mixture = mention.mixture or "mixture"

    def _wild_mix(self, token: _Token, gap: str) -> None:
        if mention := self._latest(token):
            mention.mixture = "mixture with wild type"

    def _range(self, token: _Token, gap: str) -> None:
        first, last = int(token.match["r1"]), int(token.match["r2"])
        if last - first >= _SPAN_READ:
            proteins = self.lexicon.mutations.proteins
            genes = self.genes or self._next_gene(token)
            self.covered += [
                Coverage(g, first, last)
                for g in genes
                if g in proteins and last <= len(proteins[g].residues) + _SPAN_READ
            ]

    def _codon(self, token: _Token, gap: str) -> None:
        if not self.listing:
            self.pending.append(_Mention(token, self.genes, self.stated or self.coded))

    def _latest(self, token: _Token) -> _Mention | None:
        mentions = self.pending or self.done
        return mentions[-1] if mentions and token.start - mentions[-1].token.end <= _SPAN_READ * 2 else None

    def _more_follows(self, token: _Token) -> bool:
        """Is this the head of a list ("not detected: A594V, L595S")?"""
        return bool(
            re.match(
                r"\s*(?:are|were|is|of|for|at)?\s*:?\s*(?:[A-Z][A-Za-z]{0,2}\d|p\.|del\s?\d)", self.said[token.end :]
            )
        )

    def _next_gene(self, token: _Token) -> tuple[str, ...]:
        found = re.match(r"\s*(?:\)|,)?\s*(?:of|in|for)?\s*(?:the\s+)?", self.said[token.end :])
        match = self.lexicon.gene.match(self.said, token.end + (found.end() if found else 0))
        return (f"UL{match['g']}",) if match else ()


def _teaches(before: str, lexicon: Lexicon) -> bool:
    """Does a text up to "resistance" speak of mutations in general, not of those of this virus?"""
    found = list(lexicon.teaches.finditer(before[-_LONGEST_LESSON:]))
    return bool(found) and not found[-1]["these"]


_ARE = re.compile(r"\b(?:is|are|include|includes|being)\b|:")
_ANSWERS = re.compile(  # behind what was looked for
    r"[\s)]*(?:$|[(:=-]|,?\s*(?:which\s+)?(?:was|were|is|are|and|has|have|both|all)\b)"
)


def _is_answer(said: str, token: _Token, gap: str) -> bool:
    """Is a "no" the answer to what stands before it ("A594V: No"), not the start of a statement?"""
    return bool(re.search(r"[:=?-]\s*$", gap) and re.match(r"\s*(?:$|[,;.)|\n])", said[token.end :]))


def _of_another(gap: str) -> bool:
    """Is a new thing named between a change and what is said: "A594V, polymerase: none"?"""
    return bool(re.search(r"[,;|]\s*[A-Za-z][A-Za-z ()/-]*:\s*$", gap))


# --------------------------------------------------------------------------------------------------------------------
# From a mention to a change


def _resolve(mention: _Mention, lexicon: Lexicon) -> Reading:
    """The changes that a mention names, or why it could not be read."""
    match, written = mention.token.match, mention.token.text.strip("()[] ")
    written += ")" if written.count("(") > written.count(")") else ""  # p.(Ala594Val) keeps both of its own
    if mention.undetermined:
        return Reading(unread=(f'"{written}" is said not to be determined',))
    if mention.uncertain and not mention.absent:
        return Reading(unread=(f'"{written}" could not be read with certainty, as found or as not found',))
    kind = mention.token.kind
    if kind in ("named", "letters", "spaced", "exchange", "bare"):
        found = _substitution(mention, lexicon, written)
    elif kind == "dna":
        found = _from_dna(mention, lexicon, written)
    elif kind == "genomic":
        return Reading(unread=(f'"{written}" is a genome position, which is not translated here',))
    elif kind == "codon":
        found = _at_codon(mention, lexicon, int(match["k1"]))
    else:
        found = _other_kind(mention, lexicon, written)
    changes = tuple(
        replace(c, share=mention.share or c.share, mixture=c.mixture or mention.mixture) for c in found.changes
    )
    return Reading(
        changes=() if mention.absent else changes,
        absent=changes if mention.absent else (),
        unread=() if mention.absent else found.unread,
    )


def _substitution(mention: _Mention, lexicon: Lexicon, written: str) -> Reading:
    match, kind = mention.token.match, mention.token.kind
    prefix = {"named": "n", "letters": "o", "spaced": "p", "exchange": "e", "bare": "q"}[kind]
    codon = int(match[f"{prefix}1"])
    if kind == "bare":  # the reference tells the amino acid that is left out
        own = [p for g in mention.genes if (p := lexicon.mutations.proteins.get(g))]
        if len(own) != 1 or not mention.stated or not 1 <= codon <= len(own[0].residues):
            return Reading()  # "100X", "24H"
        old = own[0].residues[codon - 1]
    else:
        old = _one_letter(match[f"{prefix}_old"])
    if kind == "exchange":
        new = [match["e_new"]]
    elif kind == "named":
        new = [match["n_new"], *re.findall(r"[A-Za-z]+", match["n_more"])]
    else:
        new = list(
            re.sub(r"(?<=[A-Za-z])\*$", "", match[f"{prefix}_new"]).replace("/", "")
        )  # a trailing star: a footnote
    letters = list(dict.fromkeys(old if letter == "=" else _one_letter(letter) for letter in new))
    lower_case = kind == "letters" and not match["o_old"].isupper()
    if lower_case and not any(
        g in lexicon.mutations.proteins and lexicon.mutations.proteins[g].fits(old, codon) for g in mention.genes
    ):
        return Reading()  # "q12h", "t1d" ...
    wanted = [letter for letter in letters if letter != old]
    if not wanted:
        return Reading()  # no change of the amino acid
    names = [f"{old}{codon}{letter}" for letter in wanted]
    gene, inferred, why = _gene_of(mention, lexicon, names, [(old, codon)])
    if not gene:
        return Reading(unread=(f'"{written}" could not be read: {why}',))
    mixture = "mixture with wild type" if old in letters else "mixture" if len(letters) > 1 else ""
    changes, unread = [], []
    for letter, name in zip(wanted, names, strict=True):
        if letter == "X" or letter not in _AMINO_ACIDS | {"*"}:
            unread.append(f'"{written}": the letter {letter} at {gene} codon {codon} is not determined')
        else:
            kind = "stop" if letter == "*" else "substitution"
            changes.append(Change(gene, name, (codon, codon), kind, written, mixture, inferred=inferred))
    return Reading(changes=tuple(changes), unread=tuple(unread))


def _one_letter(name: str) -> str:
    return _THREE.get(name.casefold(), name.upper())


def _gene_of(
    mention: _Mention, lexicon: Lexicon, names: list[str], residues: list[tuple[str, int]]
) -> tuple[str, bool, str]:
    """(gene, is it inferred?, why not) of a change that the data may know by one of `names`.

    `residues` are the (amino acid, codon) pairs that the change takes the reference to have; "" for a letter not given.
    """
    proteins, known = lexicon.mutations.proteins, lexicon.mutations.names
    by_name = frozenset().union(*(known.get(name, frozenset()) for name in names))
    candidates = [gene for gene in mention.genes if gene in proteins]
    if mention.genes and not candidates:
        return "", False, f"{mention.genes[0]} is not one of the genes judged here"

    def fits(gene: str) -> bool:
        ends = all(1 <= codon <= len(proteins[gene].residues) for _, codon in residues)
        return gene in by_name or (ends and all(proteins[gene].fits(a, c) for a, c in residues if a))

    fitting = [gene for gene in candidates if fits(gene)]
    if len(fitting) > 1:
        fitting = [gene for gene in fitting if gene in by_name]
    if len(fitting) == 1:
        return fitting[0], len(candidates) > 1, ""
    if candidates and mention.stated:
        if len(candidates) > 1:
            return (
                "",
                False,
                f"it fits {' and '.join(candidates)} equally" if fitting else "it fits none of the genes named",
            )
        place = f"{candidates[0]} codon {residues[0][1]}"
        elsewhere = sorted(by_name - set(candidates))
        hint = f"; the data know it in {' and '.join(elsewhere)}" if elsewhere else ""
        return "", False, f"it does not fit the reference at {place}{hint}"
    if len(by_name) == 1:
        return next(iter(by_name)), True, ""
    if by_name:
        return "", False, f"the gene is not named, and {' and '.join(sorted(by_name))} have such a change"
    return "", False, "the gene is not named, and the data do not know it"


def _from_dna(mention: _Mention, lexicon: Lexicon, written: str) -> Reading:
    """A change of the coding sequence, translated by the reference where it fits."""
    match, proteins = mention.token.match, lexicon.mutations.proteins
    first, last = int(match["d1"]), int(match["d2"] or match["d1"])
    codon, last_codon = (first - 1) // 3 + 1, (last - 1) // 3 + 1
    genes = [gene for gene in mention.genes if gene in proteins] or list(proteins)
    old, new = (match["d_old"] or "").upper(), (match["d_new"] or "").upper()
    if old and len(old) == len(new):
        found = {gene: name for gene in genes if (name := proteins[gene].change(first, old, new))}
        if len(genes) > 1:
            found = {gene: name for gene, name in found.items() if gene in lexicon.mutations.names.get(name, ())}
        if len(found) == 1:
            gene, name = next(iter(found.items()))
            if name[0] == name[-1]:
                return Reading()
            kind = "stop" if name[-1] == "*" else "substitution"
            return Reading((Change(gene, name, (codon, codon), kind, written, inferred=len(genes) > 1),))
    elif match["d_op"] == "del" and len(genes) == 1:
        length = last - first + 1
        if length % 3:
            return Reading((Change(genes[0], f"codon {codon} frameshift", (codon, last_codon), "frameshift", written),))
        if first % 3 == 1 and last_codon <= len(proteins[genes[0]].residues):
            return Reading((_deletion(genes[0], codon, last_codon, written, inferred=False),))
    place = f"codon {codon}" if codon == last_codon else f"codons {codon} to {last_codon}"
    return Reading(unread=(f'"{written}" could not be translated: {place}, amino acid not known',))


def _at_codon(mention: _Mention, lexicon: Lexicon, codon: int) -> Reading:
    genes = [gene for gene in mention.genes if gene in lexicon.mutations.proteins]
    if len(genes) != 1 or not 1 <= codon <= len(lexicon.mutations.proteins[genes[0]].residues):
        return Reading()
    return Reading((Change(genes[0], f"codon {codon}", (codon, codon), "codon", mention.token.text),))


def _other_kind(mention: _Mention, lexicon: Lexicon, written: str) -> Reading:
    """Deletions, insertions, frameshifts, and stops in words."""
    match, kind = mention.token.match, mention.token.kind
    prefix = {"frameshift": "f", "deletion": "a", "deleted": "b", "insertion": "i", "worded": "w"}[kind]
    if kind == "worded":
        kind = re.sub(r"\s", "", match["w_kind"].lower())
    first = int(match[f"{prefix}1"])
    parts = match.groupdict()
    last = int(parts.get(f"{prefix}2") or first)
    letters = [parts.get(f"{prefix}_old") or "", parts.get(f"{prefix}_old2") or ""]
    if kind == "deleted" and not (letters[0] or parts["b2"] or parts["b_word"]) and "s" in match["b_op"].lower()[3:]:
        return Reading()  # "2 deletions"
    if last < first:
        return Reading(unread=(f'"{written}" could not be read: the codons run backwards',))
    residues = [
        (_one_letter(letter) if letter else "", codon) for letter, codon in zip(letters, (first, last), strict=True)
    ]
    name = _deletion_name(first, last)
    gene, inferred, why = _gene_of(mention, lexicon, [name] if kind in ("deletion", "deleted") else [], residues)
    if not gene:
        return Reading(unread=(f'"{written}" could not be read: {why}',))
    if kind in ("deletion", "deleted") and "ins" not in (parts["b_op"] or "").lower():
        return Reading((_deletion(gene, first, last, written, inferred=inferred),))
    if kind == "stop":
        name = f"{lexicon.mutations.proteins[gene].residues[first - 1]}{first}*"
        return Reading((Change(gene, name, (first, first), "stop", written, inferred=inferred),))
    word = {"frameshift": "frameshift", "insertion": "insertion"}.get(kind, "insertion")
    return Reading((Change(gene, f"codon {first} {word}", (first, last), word, written, inferred=inferred),))


def _deletion_name(first: int, last: int) -> str:
    return f"del{first}" if first == last else f"del{first}-{last}"


def _deletion(gene: str, first: int, last: int, written: str, *, inferred: bool) -> Change:
    return Change(gene, _deletion_name(first, last), (first, last), "deletion", written, inferred=inferred)


# --------------------------------------------------------------------------------------------------------------------
# Calls on drugs


@dataclass(slots=True)
class _Said:
    """A call in the making; one made by the bare noun "resistance" may still be turned by what follows."""

    drug: str
    says: str
    written: str
    by_noun: bool = False
    before: bool = False  # the call stands before the drug: "resistant to ..."


def _calls(
    said: str,
    clause: list[_Token],
    lexicon: Lexicon,
    coded: tuple[str, ...],
    genes: tuple[str, ...],
    *,
    of_resistance: bool,
    prose: bool,
) -> Reading:
    """What a clause says of drugs. In `prose` a sentence may teach of mutations in general."""
    made: list[_Said] = []
    waiting: list[str] = []  # drugs named and not yet judged
    open_call: _Said | None = None
    denying = hedging = False
    has_drug = any(token.kind == "drug" for token in clause)
    has_change = any(token.kind in (*_CHANGES, "codon", "listed") for token in clause)
    settled = has_change or any(token.kind in ("affirmed", "denied", "denying", "none") for token in clause)
    last: _Token | None = None

    def assign(says: str, token: _Token, *, by_noun: bool = False) -> None:
        nonlocal waiting, open_call
        follows = re.match(r"\s*(?:to|against|for|:|=|-|\()\s*", said[token.end :])
        next_token = clause[clause.index(token) + 1] if clause.index(token) + 1 < len(clause) else None
        heads = bool(
            follows and next_token and next_token.kind == "drug" and next_token.start <= token.end + follows.end() + 5
        )
        if heads:
            waiting, open_call = [], _Said("", says, token.text, by_noun, before=True)
            return
        open_call = None
        if not waiting and last and last.kind == "drug" and made and made[-1].before:
            made[-1] = _Said(made[-1].drug, says, token.text, by_noun)
        elif not waiting and made and made[-1].by_noun and not by_noun:
            for entry in made:
                if entry.by_noun:
                    entry.says, entry.by_noun, entry.written = says, False, token.text
        elif waiting or (coded and not has_drug):
            made.extend(_Said(drug, says, token.text, by_noun) for drug in (waiting or coded))
            waiting = []
        elif next_token and next_token.kind == "drug":
            open_call = _Said("", says, token.text, by_noun, before=True)
        elif not has_drug:
            made.append(_Said("", says, token.text, by_noun))

    def turn(says: str, token: _Token) -> None:
        """What follows a bare "resistance", or stands for a drug or a coded result by itself."""
        nonlocal waiting
        turned = [entry for entry in made if entry.by_noun]
        for entry in turned:
            entry.by_noun = False
            if says != "resistant":  # "detected" affirms what was said, possible or not
                entry.says, entry.written = says, token.text
        if turned or has_change:
            return
        if waiting:
            if says != "resistant":  # "ganciclovir: detected" may be a mutation or the drug
                made.extend(_Said(drug, says, token.text) for drug in waiting)
                waiting = []
        elif not has_drug and not made and (of_resistance or (coded and says == "undetermined")):
            if coded:
                made.extend(_Said(drug, says, token.text) for drug in coded)
            elif says == "resistant":
                made.append(_Said("", says, token.text))

    for token in clause:
        match token.kind:
            case "drug":
                drug = lexicon.drug_of[_key(token.text)]
                if open_call:
                    made.append(replace(open_call, drug=drug))
                else:
                    waiting.append(drug)
            case "resistant" | "possible" | "noun" if prose and not settled and _teaches(said[: token.end], lexicon):
                pass
            case "resistant" | "possible" | "susceptible":
                said_so: str = token.kind
                if denying:
                    said_so = "possible" if said_so == "susceptible" else "susceptible"
                elif hedging and said_so == "resistant" and lexicon.rule.noun[0] in token.text.lower():
                    said_so = "possible"
                assign(said_so, token)
                denying = hedging = False
            case "noun":
                if not lexicon.noun_of.match(said, token.end) and not lexicon.asked.search(said[: token.start]):
                    says = "susceptible" if denying else "possible" if hedging else "resistant"
                    assign(says, token, by_noun=not denying)
                    hedging = False
            case "suspected":
                made = [entry for entry in made if not entry.by_noun]
            case "hedge":
                hedging = True
            case "undetermined":
                turn("undetermined", token)
            case "denied" | "none":
                turn("susceptible", token)
            case "affirmed":
                none_was = last is not None and last.kind == "none"  # "none was found"
                turn("susceptible" if denying or none_was else "resistant", token)
                denying = False
            case "letter":
                if (
                    last
                    and last.kind == "drug"
                    and re.fullmatch(r"[^\d]{0,12}", said[last.end : token.start])
                    and waiting
                ):
                    says = {"R": "resistant", "S": "susceptible", "I": "possible"}[token.text]
                    made.extend(_Said(drug, says, token.text) for drug in waiting)
                    waiting = []
            case "denying" if len(clause) == 1 and of_resistance:
                turn("susceptible", token)  # "No"
            case "denying" if made and last and _is_answer(said, token, said[last.end : token.start]):
                for entry in made:  # "resistance: No"
                    if entry.written == made[-1].written:
                        entry.says, entry.by_noun = "susceptible", False
            case "denying":
                denying = True
            case "except":
                denying = False
        last = token
    clear = tuple(genes) or ("",) if any(not e.drug and e.says == "susceptible" for e in made) else ()
    calls = tuple(Call(e.drug, e.says, e.written) for e in made if e.drug or e.says in ("resistant", "possible"))
    return Reading(calls=calls, clear=clear)
