"""Claim: images are read quicker than by torchvision's transforms, and once kept, quicker still; the tensors are equal.

    python examples/benchmarks/input.py [--images 256] [--rounds 5] [--size 256x128]

Writes seeded JPEGs (quality 95; large shapes, edges and noise) of the sizes that re-identification has into a temporary
folder and measures, with one thread: what it takes to decode and to squash one, by Pillow and by its alternatives, and
whether these give the same pixels; what each part of the augmentation takes; and how many images a second a whole epoch
gives, by torchvision's transforms in torch's DataLoader with new worker processes for every epoch, and by reidtune's
loader, whose tensors are checked to be the same bits. Ways take turns; microseconds are processor time, the median over
the rounds, and so are the images a second of wall time, which other work on the machine disturbs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader
from torchvision.io import decode_jpeg, read_file
from torchvision.transforms import v2

from reidtune.backbone.preprocess import Preprocess
from reidtune.data import ImageFile, Record, TrainTransform, label_map, read_image, train_loader
from reidtune.data.kept_pixels import KeptPixels, file_key
from reidtune.data.normalise import normalise
from reidtune.data.reading import reading
from reidtune.data.transforms import squash
from reidtune.seeds import derive_seed, seeded

SIZES = {
    "128×64 (Market-1501)": (128, 64),
    "384×128 (MSMT17)": (384, 128),
    "800×400": (800, 400),
    "1080×1920": (1080, 1920),
}
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
BATCH = 64
Ways = dict[str, Callable[[], Any]]


def picture(height: int, width: int, seed: int) -> Image.Image:
    """Large soft shapes, some rectangles with edges, and noise as of a sensor."""
    random = np.random.default_rng(seed)
    soft = Image.fromarray(random.integers(0, 256, (8, 4, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    values = np.asarray(soft).astype(np.int16)
    for _ in range(12):
        top, left = random.integers(0, height), random.integers(0, width)
        values[top : top + height // 5, left : left + width // 5] = random.integers(0, 256, 3)
    values += random.normal(0, 4, values.shape).astype(np.int16)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def measure(ways: Ways, rounds: int, count: int) -> dict[str, float]:
    """Microseconds of processor time of each way: the median of ``rounds`` of ``count`` calls that take turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begun = time.process_time()
            for _ in range(count):
                way()
            found[name].append(1e6 * (time.process_time() - begun) / count)
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def one_image(folder: Path, preprocess: Preprocess, rounds: int) -> None:
    print("| one image | JPEG bytes | Pillow | as `read_image` | torchvision `decode_jpeg` | Pillow draft | ", end="")
    print("squash | `v2.Resize` | `interpolate` | kept row |")
    print("| --- " + "| ---: " * 9 + "|")
    resize = v2.Resize((preprocess.height, preprocess.width), v2.InterpolationMode.BICUBIC, antialias=True)
    size = (preprocess.height, preprocess.width)
    equal = {"torchvision": True, "draft": True, "interpolate": True}
    for name, (height, width) in SIZES.items():
        path = folder / f"{height}x{width}.jpg"
        picture(height, width, 0).save(path, quality=95)
        file = ImageFile(path)
        image = read_image(file)
        colours = v2.functional.pil_to_tensor(image)[None]
        kept = KeptPixels([file], preprocess)
        kept.create()
        pixels, key = squash(image, preprocess), file_key(file)
        assert key is not None
        kept.shelf.put(0, key, pixels)

        def draft(path: Path = path) -> Image.Image:
            with Image.open(path) as opened:
                opened.draft("RGB", (preprocess.width, preprocess.height))
                opened.load()
                return opened

        def pillow(path: Path = path) -> None:
            with Image.open(path) as opened:
                opened.load()

        times = measure(
            {
                "pillow": pillow,
                "read_image": lambda file=file: read_image(file),
                "torchvision": lambda path=path: decode_jpeg(read_file(str(path))),
                "draft": draft,
                "squash": lambda image=image: squash(image, preprocess),
                "interpolate": lambda colours=colours: interpolate(colours, size, mode="bicubic", antialias=True),
                "resize": lambda image=image: resize(image),
                "kept": lambda kept=kept, file=file: kept.shelf.take(0, file_key(file)),
            },
            rounds,
            max(3, 3_000_000 // (height * width * 10)),
        )
        equal["torchvision"] &= bool(
            (decode_jpeg(read_file(str(path))).permute(1, 2, 0).numpy() == np.asarray(image)).all()
        )
        equal["draft"] &= bool((squash(draft(), preprocess) == pixels).all())
        found = interpolate(colours, size, mode="bicubic", antialias=True)[0].numpy()
        equal["interpolate"] &= bool((found == pixels).all())
        again = kept.shelf.take(0, key)
        assert again is not None
        assert (again == pixels).all()
        cells = [
            f"{times[way]:,.0f}"
            for way in ("pillow", "read_image", "torchvision", "draft", "squash", "resize", "interpolate", "kept")
        ]
        print(f"| {name} | {path.stat().st_size:,} | {' | '.join(cells)} |")
    other = equal["interpolate"]
    words = {True: "the very pixels", False: "other pixels"}
    print(
        f"\nMicroseconds. torchvision gives {words[equal['torchvision']]}, Pillow's draft {words[equal['draft']]}, ",
        end="",
    )
    print(f"torch's interpolate of 8 bits {words[other]}.\n")


def augmentation(preprocess: Preprocess, rounds: int) -> None:
    small = picture(preprocess.height, preprocess.width, 1)
    pixels = squash(small, preprocess)
    out, tensor = np.empty_like(pixels), torch.from_numpy(pixels)
    transform, plain = TrainTransform(preprocess), v2.Compose(plain_steps(preprocess)[1:])
    batch, nothing = tensor.expand(BATCH, *tensor.shape).contiguous(), torch.zeros(BATCH, 4, dtype=torch.int64)
    scaled = tensor.float() / 255

    def one_after_the_other() -> Tensor:
        with seeded(next(seeds)):
            return plain(small)

    seeds = itertools.cycle(range(100))
    calls = {
        "torchvision: flip, pad, crop, to float, normalise, erase": one_after_the_other,
        "of these, to 8-bit tensor": lambda: v2.functional.to_image(small),
        "of these, to float": lambda: v2.functional.to_dtype(tensor, torch.float32, scale=True),
        "of these, normalise": lambda: v2.functional.normalize(scaled, MEAN, DEVIATION),
        "reidtune: draw, flip, pad, crop, on 8-bit pixels": lambda: transform.vary(pixels, next(seeds), out),
        "a flip by NumPy": lambda: np.ascontiguousarray(pixels[:, :, ::-1]),
        "a flip by torch": lambda: tensor.flip(-1),
    }
    times = measure(calls, rounds, 100)
    times["reidtune: normalise and erase, by the batch"] = (
        measure({"": lambda: normalise(batch, nothing, preprocess)}, rounds, 3)[""] / BATCH
    )
    floats = [torch.rand(tensor.shape) for _ in range(BATCH)]
    times["torch: stack float images"] = measure({"": lambda: torch.stack(floats)}, rounds, 3)[""] / BATCH
    print(f"| {preprocess.height}×{preprocess.width}, one image | µs |\n| --- | ---: |")
    for name, microseconds in times.items():
        print(f"| {name} | {microseconds:,.0f} |")
    print()


def plain_steps(preprocess: Preprocess) -> list[v2.Transform]:
    size = (preprocess.height, preprocess.width)
    return [
        v2.Resize(size, v2.InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(0.5),
        v2.Pad(10),
        v2.RandomCrop(size),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.ToPureTensor(),
        v2.Normalize(list(preprocess.mean), list(preprocess.std)),
        v2.RandomErasing(0.5, scale=(0.02, 0.4), value=0),
    ]


class Plain(torch.utils.data.Dataset[Tensor]):
    """An image by (index, seed): Pillow, torchvision's transforms."""

    def __init__(self, records: Sequence[Record], preprocess: Preprocess) -> None:
        self.records, self.steps = records, v2.Compose(plain_steps(preprocess))

    def __getitem__(self, item: tuple[int, int]) -> Tensor:
        index, seed = item
        with seeded(derive_seed(seed, 0)):
            return self.steps(read_image(self.records[index].images[0]))


def epochs(folder: Path, preprocess: Preprocess, images: int, rounds: int) -> None:
    """Whole epochs of Market-1501's size of images."""
    records = []
    for number in range(images):
        path = folder / f"{number:05d}.jpg"
        picture(128, 64, number).save(path, quality=95)
        records.append(Record((ImageFile(path),), number // 4 + 1))
    batches = [list(range(start, min(start + BATCH, images))) for start in range(0, images, BATCH)]
    labels, transform = label_map(records), TrainTransform(preprocess)

    def plain(epoch: int, workers: int) -> Iterator[Tensor]:
        items = [[(i, derive_seed("item", 1, epoch, i)) for i in batch] for batch in batches]
        yield from DataLoader(Plain(records, preprocess), batch_sampler=items, num_workers=workers)

    def ours(epoch: int, workers: int) -> Iterator[Tensor]:
        return (pixels for pixels, _, _ in train_loader(records, labels, batches, transform, 1, epoch, workers=workers))

    def timed(batches: Iterable[Tensor]) -> tuple[float, list[float]]:
        begun = time.perf_counter()
        sums = [batch[:, :, ::16, ::16].double().sum().item() for batch in batches]
        return images / (time.perf_counter() - begun), sums

    kept = KeptPixels([record.images[0] for record in records], preprocess)
    print("| an epoch of 128×64 JPEGs, images a second | 0 workers | 1 worker | 2 workers | ms of processor an image |")
    print("| --- | ---: | ---: | ---: | ---: |")
    names = (
        "torchvision, new processes every epoch",
        "decoded in every epoch",
        "first epoch, kept",
        "further epochs, kept",
    )
    rates: dict[tuple[str, int], list[float]] = {(name, workers): [] for name in names for workers in (0, 1, 2)}
    processor: dict[str, list[float]] = {name: [] for name in names}
    for epoch in range(rounds):
        for workers in (0, 1, 2):
            found = {}
            for name in names[:2]:
                before = spent()
                rate, found[name] = timed((plain if name == names[0] else ours)(epoch, workers))
                rates[name, workers].append(rate)
                processor[name].append(spent() - before)
            kept.remove()
            kept.create()
            with reading(kept=kept):
                for name in names[2:]:
                    before = spent()
                    rate, found[name] = timed(ours(epoch, workers))
                    rates[name, workers].append(rate)
                    if not workers:  # those of the others are counted when they end
                        processor[name].append(spent() - before)
            assert all(sums == found[names[0]] for sums in found.values()), "other tensors"
    for name in names:
        cells = [f"{statistics.median(rates[name, workers]):,.0f}" for workers in (0, 1, 2)]
        print(f"| {name} | {' | '.join(cells)} | {1e3 * statistics.median(processor[name]) / images:.2f} |")
    assert all(map(torch.equal, ours(0, 0), plain(0, 0)))
    print(f"\nEvery epoch has the same tensors in all ways. {kept.bytes / 1e6:.0f} MB are kept.")
    with reading():
        begun = time.perf_counter()
        whole = ours(0, 2)
        next(whole)
        started = time.perf_counter() - begun
        for _ in whole:
            pass
        begun = time.perf_counter()
        next(ours(1, 2))
        print(
            f"First batch of two new workers after {1e3 * started:.0f} ms, of the same two in the next epoch ", end=""
        )
        print(f"after {1e3 * (time.perf_counter() - begun):.0f} ms.")


def spent() -> float:
    """Processor seconds of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="256x128", help="height x width of the model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    height, width = map(int, arguments.size.split("x"))
    preprocess = Preprocess(height, width, MEAN, DEVIATION)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REIDTUNE_CACHE"] = str(Path(folder) / "cache")
        one_image(Path(folder), preprocess, arguments.rounds)
        augmentation(preprocess, arguments.rounds)
        epochs(Path(folder), preprocess, arguments.images, arguments.rounds)


if __name__ == "__main__":
    main()
