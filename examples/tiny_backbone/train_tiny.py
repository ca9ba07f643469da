"""Trains the embedded tiny backbone: a small CLIP on image and caption pairs of rendered people.

    python examples/tiny_backbone/train_tiny.py --output reidtune/demo/tiny.safetensors

The people (another seed) and the cameras (101 and up) are not those of the demo world, and no identity label is used:
the loss is CLIP's InfoNCE over image and caption pairs (Radford et al. 2021). See README.md beside this file.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from evaluate_tiny import demo_image_rank1, demo_text_rank1, load, normalise, text_features
from open_clip.transformer import PatchDropout
from safetensors.torch import save_file
from torch import Tensor

from reidtune.demo.cameras import camera
from reidtune.demo.captions import captions
from reidtune.demo.people import make_people
from reidtune.demo.shots import make_track, take
from reidtune.demo.tiny import EMBEDDING, ROWS, TINY_CONFIG, initial_token_rows, tiny_state_dict

SEED = 7001
CAMERAS = tuple(range(101, 131))
HEIGHT, WIDTH = TINY_CONFIG["vision_cfg"]["image_size"]
LENGTH = 40  # tokens of a caption that training looks at; the longest captions have more
# Share of the patches left out, from this share of the time on (FLIP, Li et al. 2023)
MASKED = ((0.0, 0.7), (0.6, 0.5), (0.88, 0.0))


def render(people: int, shots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, H, W, 3] uint8, token ids of two captions [N, 2, 77] int32, person [N]."""
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    everybody = make_people(people, SEED)
    images = np.empty((people * shots, HEIGHT, WIDTH, 3), np.uint8)
    lines: list[str] = []
    row = 0
    for person in everybody:
        plan = np.random.default_rng([SEED, 20, person.number])
        others = everybody[max(0, person.number - 6) : person.number + 7]
        others = [other for other in others if other.number != person.number]
        for number in plan.choice(CAMERAS, size=shots, replace=False):
            rng = np.random.default_rng([SEED, 21, person.number, int(number)])
            shot = take(make_track(person, camera(int(number)), rng), 0, rng, others)
            images[row] = np.asarray(shot.pictures["RGB"].resize((WIDTH, HEIGHT), 3))
            lines += captions(person, shot.view, shot.visible, rng)
            row += 1
    tokens = tokenizer(lines).numpy().astype(np.int32).reshape(row, 2, -1)
    return images, tokens, np.repeat(np.arange(people), shots)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifted crops, small changes of light and colour, erasing; [B, 3, H, W] in 0–1.

    No mirroring: captions say left and right.
    """
    count = len(images)
    padded = F.pad(images, (4, 4, 6, 6), mode="replicate")
    dy = torch.randint(0, 13, (count,), generator=generator)
    dx = torch.randint(0, 9, (count,), generator=generator)
    rows = (dy[:, None] + torch.arange(HEIGHT))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(WIDTH))[:, None, None, :]
    out = padded[torch.arange(count)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]
    gain = 1 + 0.15 * torch.randn(count, 3, 1, 1, generator=generator)
    out = (out * gain + 0.05 * torch.randn(count, 1, 1, 1, generator=generator)).clamp(0, 1)
    for i in torch.nonzero(torch.rand(count, generator=generator) < 0.3).flatten().tolist():
        top = int(torch.randint(0, HEIGHT - 24, (1,), generator=generator))
        left = int(torch.randint(0, WIDTH - 16, (1,), generator=generator))
        out[i, :, top : top + 24, left : left + 16] = 0.45
    return out


def plan(rows: Tensor, lengths: Tensor, size: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """An epoch's batches (rows, which of the two captions) in random order; captions of like length go together,
    so that little is padded."""
    rows = rows[torch.randperm(len(rows), generator=generator)]
    which = torch.randint(0, 2, (len(rows),), generator=generator)
    batches = []
    for start in range(0, len(rows) - size + 1, size * 16):
        part, choice = rows[start : start + size * 16], which[start : start + size * 16]
        order = lengths[part, choice].argsort(stable=True)
        chunks = zip(part[order].split(size), choice[order].split(size), strict=True)
        batches += [pair for pair in chunks if len(pair[0]) == size]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def shorten(ids: Tensor) -> Tensor:
    """Token ids cut to the longest of the batch, and to LENGTH; the end token stays."""
    end = ids.argmax(dim=1)
    longest = int(end.max()) + 1
    if longest > LENGTH:
        eot = ids.max()
        ids = ids[:, :LENGTH].clone()
        ids[end >= LENGTH, LENGTH - 1] = eot
        return ids
    return ids[:, :longest]


def save(model: torch.nn.Module, touched: Tensor, path: Path) -> None:
    state = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    state[EMBEDDING] = state[EMBEDDING][touched].contiguous()
    state[ROWS] = touched.to(torch.int32)
    temporary = path.with_suffix(".part")
    save_file(state, temporary)
    temporary.chmod(0o644)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=8000)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="keep the rendered training images in this .npz file")
    parser.add_argument("--init", action="store_true", help="go on from --output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    begin = time.perf_counter()
    if options.cache and options.cache.exists():
        stored = np.load(options.cache)
        images, tokens, person = stored["images"], stored["tokens"], stored["person"]
        print(f"{len(images)} images of {options.people} people, rendered by an earlier run", flush=True)
    else:
        images, tokens, person = render(options.people, options.shots)
        print(f"{len(images)} images of {options.people} people in {time.perf_counter() - begin:.0f} s", flush=True)
        if options.cache:
            np.savez(options.cache, images=images, tokens=tokens, person=person)
    everything = torch.from_numpy(tokens).long()
    touched = torch.unique(torch.cat([everything.flatten(), torch.tensor([0])]))

    model = open_clip.CLIP(**{key: TINY_CONFIG[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")})
    with torch.no_grad():
        model.token_embedding.weight.copy_(initial_token_rows())
    if options.init:
        model.load_state_dict(tiny_state_dict(options.output))
    held = torch.from_numpy(person >= options.people - 250)
    training, holdout = torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
    # Only the rows that occur are trained: the embedding is swapped for a short one while training.
    full, short = model.token_embedding, torch.nn.Embedding(len(touched), model.token_embedding.embedding_dim)
    short.weight.data.copy_(full.weight.data[touched])
    place = torch.zeros(full.num_embeddings, dtype=torch.long)
    place[touched] = torch.arange(len(touched))
    model.token_embedding = short

    def text(ids: Tensor) -> Tensor:
        return text_features(model, place[ids], ids.argmax(dim=1))

    def checkpoint() -> None:
        full.weight.data[touched] = short.weight.data.half().float()
        model.token_embedding = full
        save(model, touched, options.output)
        model.token_embedding = short

    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(0)
    start, step, running = time.perf_counter(), 0, 0.0
    batches: list[tuple[Tensor, Tensor]] = []
    lengths = everything.argmax(dim=2)
    while step < options.steps:
        if not batches:
            batches = plan(training, lengths, options.batch_size, generator)
        batch, which = batches.pop()
        share = step / options.steps
        rate = options.lr * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6
        masked = [amount for since, amount in MASKED if share >= since][-1]
        model.visual.patch_dropout = PatchDropout(masked) if masked else torch.nn.Identity()
        for group in optimiser.param_groups:
            group["lr"] = rate
        pixels = augment(torch.from_numpy(images[batch.numpy()]).permute(0, 3, 1, 2).float() / 255, generator)
        ids = shorten(everything[batch, which])
        image = F.normalize(model.visual(normalise(pixels)), dim=-1)
        logits = model.logit_scale.exp() * image @ F.normalize(text(ids), dim=-1).T
        target = torch.arange(len(batch))
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        step, running = step + 1, 0.95 * running + 0.05 * loss.item() if step else loss.item()
        if step % 100 == 0:
            checkpoint()
            elapsed = time.perf_counter() - start
            print(
                f"{elapsed / 60:5.1f} min  step {step:5d}  epoch {step * options.batch_size / len(training):5.2f}"
                f"  loss {running:.3f}  scale {model.logit_scale.exp().item():.1f}",
                flush=True,
            )
    checkpoint()
    model = load(options.output)  # what is measured is what is shipped
    print(f"{step} steps in {(time.perf_counter() - start) / 60:.1f} min, loss {running:.3f}")
    with torch.no_grad():
        pictures = torch.from_numpy(images[holdout.numpy()]).permute(0, 3, 1, 2).float() / 255
        image = torch.cat([F.normalize(model.visual(normalise(part)), dim=-1) for part in pictures.split(250)])
        ids = everything[holdout, 0]
        caption = torch.cat(
            [F.normalize(text_features(model, part, part.argmax(dim=1)), dim=-1) for part in ids.split(250)]
        )
        who = torch.from_numpy(person)[holdout]
        best = (caption @ image.T).argmax(dim=1)
    print(
        f"{len(who.unique())} unseen people, {len(who)} images: text to image R@1"
        f" {(best == torch.arange(len(who))).float().mean():.3f}"
        f" (the very image), {(who[best] == who).float().mean():.3f} (the person)"
    )
    print(f"demo world, image, zero-shot: {demo_image_rank1(model)}")
    print(f"demo world, text, zero-shot: {demo_text_rank1(model)}")


if __name__ == "__main__":
    main()
