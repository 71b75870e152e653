"""Draw scenes of a few shapes as a data set in the forms of COCO and of ultralytics: `python benchmarks/scenes.py DIR`.

`--data coco:DIR` and `--data yolo:DIR/scenes.yaml` are the same images and boxes.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE, SHAPES = 96, ("circle", "square", "triangle")
"""Side of an image in pixels, and the classes."""

COUNTS = {"train": 160, "val": 40}
"""Number of scenes in each part."""


def draw_scenes(folder: Path, counts: Mapping[str, int] = COUNTS, seed: int = 0) -> None:
    """Write scenes with their annotations, the same for the same seed."""
    generator = np.random.default_rng(seed)
    for part, count in counts.items():
        images, annotations = [], []
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, boxes = _scene(generator)
            name = f"{number:03}.png"
            image.save(folder / part / name)
            (folder / part / f"{number:03}.txt").write_text("".join(map(_line, boxes)))
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            annotations += [
                {"id": len(annotations) + k, "image_id": number, "category_id": 1 + shape, "bbox": box, "iscrowd": 0}
                for k, (shape, box) in enumerate(boxes)
            ]
        categories = [{"id": 1 + number, "name": name} for number, name in enumerate(SHAPES)]
        file = folder / "annotations" / f"instances_{part}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    (folder / "scenes.yaml").write_text(json.dumps({"train": "train", "val": "val", "names": SHAPES}) + "\n")


def _line(found: tuple[int, list[float]]) -> str:
    """Return a box as ultralytics takes it: its class, and centre, width and height in shares of the image."""
    shape, (x, y, width, height) = found
    return f"{shape} {(x + width / 2) / SIDE} {(y + height / 2) / SIDE} {width / SIDE} {height / SIDE}\n"


def _scene(generator: np.random.Generator) -> tuple[Image.Image, list[tuple[int, list[float]]]]:
    """Return a scene of one to four shapes that do not overlap, each with its class and x, y, width, height."""
    noise = generator.normal(generator.uniform(60, 200, 3), 20, (SIDE, SIDE, 3)).clip(0, 255)
    image = Image.fromarray(noise.astype(np.uint8))
    boxes: list[tuple[int, list[float]]] = []
    for _ in range(generator.integers(1, 5)):
        size = int(generator.integers(14, 44))
        x, y = (int(v) for v in generator.integers(0, SIDE - size, 2))
        if any(
            x < bx + w + 2 and bx < x + size + 2 and y < by + h + 2 and by < y + size + 2 for _, (bx, by, w, h) in boxes
        ):
            continue
        shape = int(generator.integers(len(SHAPES)))
        colour = tuple(int(c) for c in generator.integers(0, 256, 3))
        corners = (x, y, x + size - 1, y + size - 1)
        pen = ImageDraw.Draw(image)
        if shape == 0:
            pen.ellipse(corners, colour)
        elif shape == 1:
            pen.rectangle(corners, colour)
        else:
            pen.polygon([(x, y + size - 1), (x + size - 1, y + size - 1), (x + size // 2, y)], colour)
        boxes.append((shape, [x, y, size, size]))
    return image, boxes


if __name__ == "__main__":
    draw_scenes(Path(sys.argv[1]))
