"""Random crops that are resized to the whole image, applied for a whole batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ResizedCrops:
    """How crops are drawn: by `torchvision.transforms.v2.RandomResizedCrop`, with ratios from 3/4 to 4/3.

    Attributes:
        smallest: Smallest share of the image's area, in (0, 1).
        height: Image height in pixels.
        width: Image width in pixels.
    """

    smallest: float
    height: int
    width: int

    def draw(self, generator: torch.Generator, count: int) -> Tensor:
        """Draw crops for `count` images: int64 [count, 4] of top, left, height and width."""
        from torchvision.transforms import v2  # takes a second, and few trainings need it

        crop, image = (
            v2.RandomResizedCrop(1, (self.smallest, 1.0)),
            torch.empty(1, self.height, self.width, device="meta"),
        )
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torchvision draws from this generator only
            drawn = [crop.make_params([image]) for _ in range(count)]
        boxes = [[params[side] for side in ("top", "left", "height", "width")] for params in drawn]
        return torch.tensor(boxes, dtype=torch.int64).reshape(count, 4)


def resize(images: Tensor, crops: Tensor, *, nearest: bool) -> Tensor:
    """Resize a crop of each image to the size of the image.

    The result is that of `F.interpolate` on each crop: without antialiasing, which changes nothing in enlarged images.

    Args:
        images: Images [B, C, H, W] of any dtype.
        crops: Top, left, height and width of B crops in pixels, int64 [B, 4] on the images' device.
        nearest: Whether to take the nearest pixel, as for masks, instead of interpolating linearly.

    Returns:
        The resized crops, float32 [B, C, H, W].
    """
    height, width = images.shape[2:]
    top, left, tall, wide = crops.float().unbind(1)
    rows, columns = _sources(height, top, tall, nearest), _sources(width, left, wide, nearest)
    grid = torch.stack(
        [
            columns[:, None, :].expand(-1, height, -1) * (2 / width) + (1 / width - 1),
            rows[:, :, None].expand(-1, -1, width) * (2 / height) + (1 / height - 1),
        ],
        dim=3,
    )
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(images.float(), grid, mode=mode, padding_mode="border", align_corners=False)


def _sources(size: int, start: Tensor, length: Tensor, nearest: bool) -> Tensor:
    """Return where in the image each output position along an axis comes from, in pixels: float32 [B, size]."""
    centres = (torch.arange(size, device=start.device) + 0.5) / size * length[:, None]
    inside = centres.floor() if nearest else centres - 0.5
    return start[:, None] + torch.minimum(inside.clamp(min=0), length[:, None] - 1)
