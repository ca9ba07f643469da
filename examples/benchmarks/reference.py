"""Plain DM-Adapter and CSKT, against which step.py measures: the papers' formulas on open_clip's own modules.

Nothing here is clever. Blocks run as open_clip 3.3 runs them while training (``nn.MultiheadAttention`` without weights,
its QuickGELU, every row of every block), texts have all 77 columns, and experts take turns on the rows that chose them.
Parameters have the names of the golden files in tests/golden, so that :func:`check` can hold both methods to features,
losses and gradients of the public implementations.

DM-Adapter: Liu et al. 2025, arXiv 2503.04144, section 3. CSKT: Liu et al. 2024, arXiv 2309.09496, sections 2.2, 2.3.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
SCALES = {"visual": 0.1, "text": 4.0}
EXPERTS, ACTIVE, REDUCTION, PROMPTS = 6, 2, 8, 4


class Adapter(nn.Module):
    """d → d / 8 → d with ReLU; CSKT's reads a LayerNorm of its own."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width) if norm else nn.Identity()
        self.down = nn.Linear(width, width // REDUCTION)
        self.up = nn.Linear(width // REDUCTION, width)

    def forward(self, rows: Tensor) -> Tensor:
        outcome: Tensor = self.up(F.relu(self.down(self.ln(rows))))
        return outcome


class Mixture(nn.Module):
    """Top-2 of six adapters, g(z) = (1 − α) W_in z + α W_task p; its call also gives Σ_e P̄_e C̄_e."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width)
        self.gate_in = nn.Linear(width, EXPERTS, bias=False)
        self.gate_task = nn.Linear(width, EXPERTS, bias=False)
        self.task_param = nn.Parameter(torch.zeros(width))
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.experts = nn.ModuleList(Adapter(width, norm=False) for _ in range(EXPERTS))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        rows = self.ln(tokens).flatten(0, 1)
        with torch.autocast(rows.device.type, enabled=False):  # routing is in fp32
            own, task = self.gate_in(rows.float()), self.gate_task(self.task_param)
            logits = (1 - self.alpha) * own + self.alpha * task
        kept, chosen = logits.topk(ACTIVE, dim=-1)
        weights = kept.softmax(dim=-1)
        mixed = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, slot = torch.where(chosen == number)
            mixed[row] += (weights[row, slot, None] * expert(rows[row])).to(mixed.dtype)
        share = F.one_hot(chosen, EXPERTS).sum(dim=1).float().mean(dim=0)
        balance = (logits.softmax(dim=-1).mean(dim=0) * share).sum()
        return mixed.view_as(tokens), balance


class Plain(nn.Module):
    """Both towers of an open_clip CLIP, walked block by block. A method says what enters a block, and what is added
    beside its MLP."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip.requires_grad_(False)
        self.layers = {"visual": len(clip.visual.transformer.resblocks), "text": len(clip.transformer.resblocks)}
        self.widths = {"visual": clip.visual.class_embedding.shape[0], "text": clip.token_embedding.embedding_dim}
        self.balance: list[Tensor] = []

    def rewritten(self, ids: Tensor) -> Tensor:
        return ids

    def first(self, tower: str, tokens: Tensor) -> Tensor:
        return tokens

    def enter(self, tower: str, layer: int, tokens: Tensor) -> Tensor:
        return tokens

    def beside(self, tower: str, layer: int, tokens: Tensor) -> Tensor | None:
        return None

    def blocks(self, tower: str, tokens: Tensor) -> Tensor:
        transformer = self.clip.visual.transformer if tower == "visual" else self.clip.transformer
        mask = None if tower == "visual" else self.clip.attn_mask
        for layer, block in enumerate(transformer.resblocks):
            tokens = self.enter(tower, layer, tokens)
            tokens = tokens + block.attention(block.ln_1(tokens), attn_mask=mask)
            added = self.beside(tower, layer, tokens)
            tokens = tokens + block.mlp(block.ln_2(tokens))
            if added is not None:
                tokens = tokens + SCALES[tower] * added
        return tokens

    def image(self, images: Tensor) -> Tensor:
        visual = self.clip.visual
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1), patches], dim=1)
        tokens = self.first("visual", tokens + visual.positional_embedding)
        tokens = self.blocks("visual", visual.ln_pre(tokens))
        features: Tensor = visual.ln_post(tokens)[:, 0] @ visual.proj
        return features

    def text(self, ids: Tensor) -> Tensor:
        ids = self.rewritten(ids)
        tokens = self.first("text", self.clip.token_embedding(ids)) + self.clip.positional_embedding
        tokens = self.clip.ln_final(self.blocks("text", tokens))
        features: Tensor = tokens[torch.arange(len(ids)), ids.argmax(dim=-1)] @ self.clip.text_projection
        return features

    def forward(self, images: Tensor, ids: Tensor, people: Tensor) -> Tensor:
        """SDM of a batch of pairs, and half of what balances the experts where there are any."""
        self.balance = []
        loss = sdm(self.image(images).float(), self.text(ids).float(), people)
        return loss + 0.5 * torch.stack(self.balance).sum() if self.balance else loss

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: value for name, value in self.named_parameters() if not name.startswith("clip.")}


class DmAdapter(Plain):
    def __init__(self, clip: Any) -> None:
        super().__init__(clip)
        self.adapter = nn.ModuleDict(
            {tower: nn.ModuleList(Mixture(self.widths[tower]) for _ in range(self.layers[tower])) for tower in SCALES}
        )

    def beside(self, tower: str, layer: int, tokens: Tensor) -> Tensor:
        mixed, balance = self.adapter[tower][layer](tokens)
        self.balance.append(balance)
        added: Tensor = mixed
        return added


class Cskt(Plain):
    def __init__(self, clip: Any) -> None:
        super().__init__(clip)
        image, text = self.widths["visual"], self.widths["text"]
        depth = self.layers["visual"]
        self.adapter = nn.ModuleDict(
            {tower: nn.ModuleList(Adapter(self.widths[tower], True) for _ in range(depth)) for tower in SCALES}
        )
        self.prompt = nn.ModuleDict(
            {
                tower: nn.ParameterList(torch.zeros(PROMPTS, self.widths[tower]) for _ in range(depth))
                for tower in SCALES
            }
        )
        self.proj = nn.ModuleDict(
            {
                "text_to_visual": nn.ModuleList(nn.Linear(text, image) for _ in range(depth)),
                "visual_to_text": nn.ModuleList(nn.Linear(image, text) for _ in range(depth)),
            }
        )

    def rows(self, tower: str, layer: int, tokens: Tensor) -> Tensor:
        """The eight rows of a block, for every sample."""
        text, image = self.prompt["text"][layer], self.prompt["visual"][layer]
        if tower == "visual":
            rows = torch.cat([self.proj["text_to_visual"][layer](text), image])
        else:
            rows = torch.cat([text, self.proj["visual_to_text"][layer](image)])
        return rows.to(tokens.dtype).expand(len(tokens), -1, -1)

    def rewritten(self, ids: Tensor) -> Tensor:
        """[start, eight placeholders, words …]; a text that no longer fits loses its last words."""
        room, context = 2 * PROMPTS, ids.shape[1]
        moved = torch.cat([ids[:, :1], torch.ones_like(ids[:, :room]), ids[:, 1 : context - room]], dim=1)
        end, place = ids.max(dim=-1)
        moved[:, -1] = torch.where(place < context - room, moved[:, -1], end)
        return moved

    def first(self, tower: str, tokens: Tensor) -> Tensor:
        if tower == "text":  # which has its placeholders
            return self.placed(tower, 0, tokens)
        return torch.cat([tokens, self.rows(tower, 0, tokens)], dim=1)

    def enter(self, tower: str, layer: int, tokens: Tensor) -> Tensor:
        return self.placed(tower, layer, tokens) if layer else tokens

    def placed(self, tower: str, layer: int, tokens: Tensor) -> Tensor:
        """The rows of a block in place of those that are there: the last ones of an image, 1 to 8 of a text."""
        rows = self.rows(tower, layer, tokens)
        if tower == "visual":
            return torch.cat([tokens[:, : -rows.shape[1]], rows], dim=1)
        return torch.cat([tokens[:, :1], rows, tokens[:, 1 + rows.shape[1] :]], dim=1)

    def beside(self, tower: str, layer: int, tokens: Tensor) -> Tensor:
        added: Tensor = self.adapter[tower][layer](tokens)
        return added


METHODS: dict[str, type[Plain]] = {"dm-adapter": DmAdapter, "cskt": Cskt}


def sdm(image: Tensor, text: Tensor, people: Tensor, temperature: float = 0.02) -> Tensor:
    """KL(p ‖ q), images to texts plus texts to images (IRRA, arXiv 2303.12501, section 3.3)."""
    cosines = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T / temperature
    same = (people[:, None] == people[None, :]).float()
    target = torch.log(same / same.sum(dim=1, keepdim=True) + 1e-8)
    directions = [(logits.softmax(dim=1), logits.log_softmax(dim=1)) for logits in (cosines, cosines.T)]
    return torch.stack([(p * (log - target)).sum(dim=1).mean() for p, log in directions]).sum()


def check(method: str) -> dict[str, float]:
    """Largest differences to the public implementation, each as a share of what the golden file tolerates."""
    name = method.replace("-", "_") + "_tower"
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    explanation = json.loads((GOLDEN / f"{name}.json").read_text())
    own = METHODS[method](open_clip.CLIP(**explanation["open_clip_config"]))
    values = {key: value for key, value in tensors.items() if key.startswith(("clip.", "adapter.", "prompt.", "proj."))}
    missing, unexpected = own.load_state_dict(values, strict=False)
    assert not unexpected and set(missing) <= {"clip.logit_scale", "clip.attn_mask"}, (missing, unexpected)
    images, ids, people = (tensors[f"input.{part}"] for part in ("images", "token_ids", "pids"))
    loss = own(images, ids, people)
    loss.backward()
    gradients = {name: value.grad for name, value in own.trained().items() if value.grad is not None}
    theirs = {key.removeprefix("grad."): value for key, value in tensors.items() if key.startswith("grad.")}
    theirs = {name if name in gradients else f"adapter.{name}": value for name, value in theirs.items()}
    assert set(gradients) == set(theirs), set(gradients) ^ set(theirs)
    allowed, target = explanation["tolerance"], tensors.get("output.loss", tensors["output.sdm"])
    with torch.no_grad():
        return {
            "image features": _share(own.image(images), tensors["output.image_features"], allowed["features"]),
            "text features": _share(own.text(ids), tensors["output.text_features"], allowed["features"]),
            "loss": _share(loss, target, allowed["losses"]),
            "gradients": max(_share(gradients[name], theirs[name], allowed["grad"]) for name in theirs),
        }


def _share(found: Tensor, expected: Tensor, allowed: dict[str, float]) -> float:
    return float(((found - expected).abs() / (allowed["atol"] + allowed["rtol"] * expected.abs())).max())
