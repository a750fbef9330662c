"""In which order a language model writes codes: the pattern is the prior's, and what is cached has none.

Each order turns codes into the tokens that the model reads and predicts, and back. Tokens are codes
`[0, num_codes)`, then the end and the start of a sequence; `IGNORED` marks what is not learned.
"""

from typing import Any

import torch
from torch import nn
from transformers import LogitsProcessor, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

IGNORED = -100
REPETITIONS = {
    "repetition_penalty": RepetitionPenaltyLogitsProcessor,
    "no_repeat_ngram_size": NoRepeatNGramLogitsProcessor,
}
Rows = tuple[torch.Tensor, torch.Tensor]


class Interleaved:
    """One code at a time; those of several codebooks in turn, place by place (Copet et al., 2023, "flattening").

    With one codebook this is the order of plain codes, row by row.
    """

    def __init__(self, num_codes: int, num_codebooks: int):
        self.end, self.start, self.books = num_codes, num_codes + 1, num_codebooks

    def tokens(self, codes: torch.Tensor, mask: torch.Tensor | None, ends: bool):
        """What is read, `(batch, 1, length)`, and what is to be predicted, `(batch, 1, length)`.

        Args:
            codes: `(batch, codebooks, places)`.
            mask: `(batch, places)`, false where there is padding.
            ends: whether the end of the sequence is predicted, too.
        """
        mask = torch.ones_like(codes[:, 0], dtype=torch.bool) if mask is None else mask.bool()
        written = codes.movedim(1, 2).flatten(1)
        mask = mask.repeat_interleave(self.books, dim=1)
        labels = written.masked_fill(~mask, IGNORED)
        if ends:
            labels = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)
            labels.scatter_(1, mask.sum(1, keepdim=True), self.end)
            written = torch.nn.functional.pad(written, (0, 1))
        start = torch.full_like(written[:, :1], self.start)
        return torch.cat([start, written[:, :-1]], dim=1)[:, None], labels[:, None]

    def length(self, places: int) -> int:
        """How many tokens stand for so many places."""
        return places * self.books

    def rows(self, batch: int) -> int:
        """How many sequences `generate` writes for a batch."""
        return batch

    def slots(self, positions: torch.Tensor) -> torch.Tensor:
        """The codebook of each token `(1, length)` that is read: what was written one position before."""
        return ((positions - 1) % self.books)[None]

    def places(self, positions: torch.Tensor) -> torch.Tensor:
        """The place whose codes are predicted at each position, of several codebooks that of the first."""
        return positions // self.books

    def next_books(self, position: int) -> list[int]:
        """The codebooks of what is predicted at a position."""
        return [position % self.books]

    def processor(self, places: int | torch.Tensor | None) -> LogitsProcessor | None:
        """What keeps generation in order: a sequence ends between places only.

        Args:
            places: how many there are, or of each row `(batch,)`; `None` where the sequence itself ends.
        """
        if torch.is_tensor(places):
            return _IsOver(self.start, self.books * places)
        return _EndsBetweenPlaces(self.end, self.books) if places is None and self.books > 1 else None

    def repetitions(self, generation: dict[str, Any]) -> list[LogitsProcessor]:
        """What makes repeating less likely: `repetition_penalty` and `no_repeat_ngram_size`, which are taken out of
        `generation`, since a code of one codebook is not repeated by that of another."""
        asked = {name: (kind, generation.pop(name)) for name, kind in REPETITIONS.items() if name in generation}
        off = {"repetition_penalty": 1, "no_repeat_ngram_size": 0}
        return [_OfItsCodebook(kind(value), self) for name, (kind, value) in asked.items() if value != off[name]]

    def own(self, input_ids: torch.LongTensor) -> torch.LongTensor:
        """What was written so far by the codebook that is next."""
        written = input_ids[:, 1:]
        return written[:, written.shape[1] % self.books :: self.books]

    def codes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Generated tokens `(batch, length)` as codes `(batch, codebooks, places)`."""
        places = tokens.shape[1] // self.books
        return tokens[:, : places * self.books].unflatten(1, (places, self.books)).movedim(1, 2)


class Delayed(Interleaved):
    """All codebooks at each step, each one step behind the one before it (Copet et al., 2023, "delay")."""

    def tokens(self, codes: torch.Tensor, mask: torch.Tensor | None, ends: bool):
        batch, books, places = codes.shape
        mask = torch.ones(batch, places, dtype=torch.bool, device=codes.device) if mask is None else mask.bool()
        steps = self.length(places) + int(ends)
        written = codes.new_full((batch, books, steps), self.start)
        labels = codes.new_full((batch, books, steps), IGNORED)
        for book in range(books):
            own = slice(book, book + places)
            written[:, book, own] = codes[:, book].masked_fill(~mask, self.start)
            labels[:, book, own] = codes[:, book].masked_fill(~mask, IGNORED)
        if ends:  # of the first codebook; the others follow
            labels[:, 0].scatter_(1, mask.sum(1, keepdim=True), self.end)
        start = torch.full_like(written[:, :, :1], self.start)
        return torch.cat([start, written[:, :, :-1]], dim=2), labels

    def length(self, places: int) -> int:
        return places + self.books - 1

    def rows(self, batch: int) -> int:
        return batch * self.books

    def slots(self, positions: torch.Tensor) -> torch.Tensor:
        return torch.arange(self.books, device=positions.device)[:, None].expand(-1, len(positions))

    def places(self, positions: torch.Tensor) -> torch.Tensor:
        return positions

    def next_books(self, position: int) -> list[int]:
        return list(range(self.books))

    def own(self, input_ids: torch.LongTensor) -> torch.LongTensor:
        return input_ids[:, 1:]

    def processor(self, places: int | torch.Tensor | None) -> LogitsProcessor | None:
        places = places.repeat_interleave(self.books) if torch.is_tensor(places) else places
        return _Delays(self.start, self.end, self.books, places)

    def codes(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.unflatten(0, (-1, self.books))
        places = max(tokens.shape[2] - self.books + 1, 0)
        return torch.stack([tokens[:, book, book : book + places] for book in range(self.books)], dim=1)


class _OfItsCodebook(LogitsProcessor):
    """A processor that sees what the codebook that is next has written, and neither the start nor the others."""

    def __init__(self, processor: LogitsProcessor, order: Interleaved):
        self.processor, self.order = processor, order

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        own = self.order.own(input_ids)
        return self.processor(own, scores) if own.shape[1] else scores


class _EndsBetweenPlaces(LogitsProcessor):
    def __init__(self, end: int, books: int):
        self.end, self.books = end, books

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if (input_ids.shape[1] - 1) % self.books:
            scores[:, self.end] = -torch.inf
        return scores


class _IsOver(LogitsProcessor):
    """After the last token of a row nothing is chosen any more, so that nothing there makes a row less likely."""

    def __init__(self, filler: int, lengths: torch.Tensor):
        self.filler, self.lengths = filler, lengths

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        lengths = self.lengths.repeat_interleave(len(input_ids) // len(self.lengths))  # of several beams
        over = input_ids.shape[1] - 1 >= lengths
        scores[over] = -torch.inf
        scores[over, self.filler] = 0.0
        return scores


class _Delays(LogitsProcessor):
    """Begins each codebook one step after the one before it, and ends it likewise."""

    def __init__(self, start: int, end: int, books: int, places: int | torch.Tensor | None):
        self.start, self.end, self.books, self.places = start, end, books, places

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        step = input_ids.shape[1] - 1
        book = torch.arange(len(input_ids), device=input_ids.device) % self.books
        begun = step >= book
        scores[begun & (book > 0), self.end] = -torch.inf  # where the others end, the first one decides
        over = step >= book + self.places if self.places is not None else self._over(input_ids, book, step)
        last = self.start if self.places is not None else self.end
        for rows, token in ((~begun, self.start), (over, last)):
            scores[rows] = -torch.inf
            scores[rows, token] = 0.0
        return scores

    def _over(self, input_ids: torch.LongTensor, book: torch.Tensor, step: int) -> torch.Tensor:
        """Rows whose first codebook ended so long ago that they end now."""
        ended = input_ids[:: self.books] == self.end  # never the first, which is the start
        places = torch.where(ended.any(1), ended.int().argmax(1) - 1, step + 1).repeat_interleave(self.books)
        return (book > 0) & (step >= book + places)


ORDERS = {"interleave": Interleaved, "delay": Delayed}


class CodeHead(nn.Module):
    """Hidden states to logits of codes, codebook by codebook, and of the end of a sequence, which the first decides.

    Its rows are the codes of one codebook after those of the other, and the end. It is no `nn.Linear`, since adapters
    on one would not be asked.

    Args:
        tied: whether the rows are not its own, but those of the embeddings, which every call then brings: those of the
            codes, and that of the end.
    """

    def __init__(self, width: int, num_codes: int, num_codebooks: int, ends: bool, tied: bool = False):
        super().__init__()
        self.weight = None if tied else nn.Parameter(torch.empty(num_codes * num_codebooks + 1, width))
        self.num_codes, self.num_codebooks, self.ends = num_codes, num_codebooks, ends

    def logits(self, states: torch.Tensor, book: int, tied: Rows | None = None) -> torch.Tensor:
        """`(..., num_codes)` of one codebook in float32, and one more where the sequence may end."""
        codes, end = tied or (self.weight[:-1], self.weight[-1:])
        own = codes[book * self.num_codes : (book + 1) * self.num_codes]
        rows = torch.cat([own, end]) if self.ends and book == 0 else own
        return nn.functional.linear(states, rows).float()

    def cross_entropy(self, states: torch.Tensor, labels: torch.Tensor, tied: Rows | None = None) -> torch.Tensor:
        """The mean over all labels `(batch, codebooks at a step, length)`."""
        books, total = self.num_codebooks, 0.0
        for book in range(books):
            in_turn = labels.shape[1] == 1
            own_states = states[:, book::books] if in_turn else states
            own_labels = labels[:, 0, book::books] if in_turn else labels[:, book]
            logits = self.logits(own_states, book, tied).flatten(0, 1)
            total = total + nn.functional.cross_entropy(
                logits, own_labels.flatten(), ignore_index=IGNORED, reduction="sum"
            )
        return total / (labels != IGNORED).sum().clamp(min=1)

    def next_logits(self, state: torch.Tensor, books: list[int], tied: Rows | None = None) -> torch.Tensor:
        """`(batch, codebooks at a step, num_codes + 2)`; what cannot come next is at minus infinity."""
        found = [self.logits(state, book, tied) for book in books]
        missing = [self.num_codes + 2 - each.shape[-1] for each in found]
        padded = [nn.functional.pad(each, (0, n), value=-torch.inf) for each, n in zip(found, missing, strict=True)]
        return torch.stack(padded, dim=1)
