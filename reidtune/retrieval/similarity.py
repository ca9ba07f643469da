"""Scores of query tiles against gallery tiles: products of one fixed shape, so that a pair always gets the same bits.

A product of another shape may sum in another order, and a last bit moves an item past its neighbour. Here every product
has the shape of one *block*; tiles are whole blocks, padded with zeros. Wherever a pair stands, whatever else is scored
with it, and whichever thread does it, the score is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from reidtune.errors import ReidtuneError
from reidtune.retrieval.rows import Index
from reidtune.retrieval.shared import Shared

Encoded = tuple[Tensor, ...]  # of each, the first dimension are the samples


@dataclass(frozen=True)
class Block:
    """The shape of every product: so many queries times so many gallery items."""

    queries: int
    items: int

    @classmethod
    def of(cls, device: torch.device) -> Block:
        """A CPU core keeps a small one in its cache; an accelerator wants a large one."""
        return cls(256, 256) if device.type == "cpu" else cls(1024, 8192)

    def items_padded(self, count: int) -> int:
        return -(-count // self.items) * self.items


class Similarity(Protocol):
    """Features [n, D] of ``rows`` to what is compared, and that to scores; higher is nearer."""

    def query(self, features: Tensor, rows: Index) -> Encoded: ...

    def items(self, features: Tensor, rows: Index) -> Encoded: ...

    def scores(self, query: Encoded, items: Encoded, block: Block, out: Tensor) -> None:
        """Fill ``out`` [block.queries, N] with the scores of encoded queries, one block, and N items, whole blocks."""


class Cosine:
    """Of zero vectors 0: they are at right angles to everything."""

    def query(self, features: Tensor, rows: Index) -> Encoded:
        return (unit(features, rows, "query"),)

    def items(self, features: Tensor, rows: Index) -> Encoded:
        return (unit(features, rows, "gallery"),)

    def scores(self, query: Encoded, items: Encoded, block: Block, out: Tensor) -> None:
        multiply(query[0], items[0], block, out)


class Euclidean:
    """Minus the squared distance, without |q|², which is equal for all items of a query."""

    def query(self, features: Tensor, rows: Index) -> Encoded:
        squares(features, rows, "query")
        return (2 * features,)

    def items(self, features: Tensor, rows: Index) -> Encoded:
        return features, squares(features, rows, "gallery")

    def scores(self, query: Encoded, items: Encoded, block: Block, out: Tensor) -> None:
        multiply(query[0], items[0], block, out)
        out -= items[1]


class SharedParts:
    """The scores of :class:`reidtune.retrieval.shared.Shared`, where a modality is missing."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def query(self, features: Tensor, rows: Index) -> Encoded:
        return self.shared.query(unit(features, rows, "query"))

    def items(self, features: Tensor, rows: Index) -> Encoded:
        return self.shared.items(unit(features, rows, "gallery"))

    def scores(self, query: Encoded, items: Encoded, block: Block, out: Tensor) -> None:
        def product(queries: Tensor, features: Tensor) -> Tensor:
            filled = torch.empty_like(out)
            multiply(queries, features, block, filled)
            return filled

        multiply(query[0], items[0], block, out)
        self.shared.finish(query, items, out, product)


def multiply(query: Tensor, items: Tensor, block: Block, out: Tensor) -> None:
    """``out`` [Q, N] = query [Q, D] · items [N, D]ᵀ, block by block; Q is one block, N whole blocks."""
    for start in range(0, len(items), block.items):
        part = slice(start, start + block.items)
        torch.mm(query, items[part].T, out=out[:, part])


def padded(encoded: Encoded, count: int) -> Encoded:
    """Zeros behind, up to ``count`` samples."""
    missing = count - len(encoded[0])
    if not missing:
        return encoded
    return tuple(torch.cat([part, part.new_zeros(missing, *part.shape[1:])]) for part in encoded)


def unit(features: Tensor, rows: Index, name: str) -> Tensor:
    """Rows of length 1; a zero row stays.

    Raises:
        ReidtuneError: a row is not finite; it is called by its number in ``rows``.
    """
    lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    scaled: Tensor = features / lengths
    odd = ~((lengths > _SHORT) & (lengths < _LONG))[:, 0]
    if odd.any():
        _check_finite(features, rows, name, odd)
        # By the largest entry first, so that no square over- or underflows.
        largest = features[odd].abs().amax(1, keepdim=True)
        part = features[odd] / largest.clamp(min=torch.finfo(torch.float32).tiny)
        scaled[odd] = part / torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp(min=1e-12)
    return scaled


_SHORT, _LONG = 1e-12, 1e12  # lengths between them have squares that fp32 holds


def squares(features: Tensor, rows: Index, name: str) -> Tensor:
    """|f|² of every row.

    Raises:
        ReidtuneError: a row is not finite or too long; it is called by its number in ``rows``.
    """
    found = features.square().sum(1)
    odd = ~(found <= torch.finfo(torch.float32).max / 4)
    if odd.any():
        _check_finite(features, rows, name, odd)
        raise ReidtuneError(
            f"The {name} features of row {_first(odd, rows)} are too large for squared distances in fp32.",
            "Use the similarity cosine, or scale the features down.",
        )
    return found


def _check_finite(features: Tensor, rows: Index, name: str, suspicious: Tensor) -> None:
    broken = suspicious & ~features.isfinite().all(1)
    if broken.any():
        raise ReidtuneError(
            f"The {name} features of row {_first(broken, rows)} are not finite.", "The model that made them is broken."
        )


def _first(which: Tensor, rows: Index) -> int:
    return int(rows[int(which.nonzero()[0])])
