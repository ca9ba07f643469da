"""A hand-made comparison, as compare.json holds it."""

from reidtune.comparison.summary import summarise

EVIL = '<script>alert("x")</script>&\'"\x1b[31m'


def metrics(value):
    return {"mAP": value, "rank-1": value + 0.05}


def compared(maps=None, seeds=(1, 2), failed=(), waiting=(), names=("world",), **changes):
    """``maps`` has the mAP of each row for each seed, by name."""
    maps = {"lora": (0.40, 0.44), "adapter": (0.50, 0.48), "vpt": (0.36, 0.33)} if maps is None else maps
    rows, runs = [], []
    for place, (name, values) in enumerate(maps.items(), 1):
        counted = {"parameters": 16384 * place, "bytes": 75_000 * place, "activation_bytes": 2_400_000 // place}
        rows.append({"name": name, "method": name.partition(":")[0], "recipe": None, "set": {}, "counted": counted})
        rows[-1]["set_aside"] = changes.get("set_aside", {}).get(name, {})
        for seed, value in zip(seeds, values, strict=True):
            run = {
                "row": name,
                "seed": seed,
                "run": f"{name}-seed{seed}",
                "status": "finished",
                "error": "",
                "hint": "",
            }
            run |= {
                "parameters": 16384 * place,
                "bytes": 75_000 * place,
                "digest": "d",
                "samples": 320,
                "seconds": 2.0 * place,
            }
            run |= {"images_per_second": 160 / place, "device": "cpu", "threads": 1, "budget": {"steps": 10}}
            run |= {"validation": {"mAP": value + 0.1}}
            run["tests"] = [{"data": one, "metrics": metrics(value + 0.1 * at)} for at, one in enumerate(names)]
            if name in failed:
                run |= {"status": "failed", "error": "The loss became nan.", "hint": "Lower it.", "tests": []}
            if name in waiting:
                run |= {"status": "waiting", "tests": [], "validation": {}, "images_per_second": None}
            runs.append(run)
    told = "market1501, cross-camera: 17 queries. Metrics in percent."
    tests = [
        {"data": one, "task": changes.get("task", "image"), "metrics": metrics(0.3 + 0.1 * at), "obtained": told}
        for at, one in enumerate(names)
    ]
    baseline = {"name": "zero-shot", "tests": tests}
    return {
        "schema": 1,
        "output": "out",
        "finished": not (failed or waiting),
        "data": {"names": list(names), "hash": "0123456789abcdef"},
        "backbone": {"name": "tiny", "pretrained": "embedded", "fingerprint": "fedcba9876543210"},
        "budget": changes.get("budget", {"epochs": 2, "steps": [10, 12], "batch_size": 32, "from": "lora"}),
        "shared": {"backbone.image_size": changes.get("image_size"), "training.steps": None},
        "environment": {"versions": {"reidtune": "0", "torch": "2", "open_clip": "3"}},
        "seeds": list(seeds),
        "baseline": baseline,
        "rows": summarise(rows, runs, baseline),
        "runs": runs,
    }
