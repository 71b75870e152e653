"""Inference speed of dense and slim networks, by engine, budget, rounding of the widths and batch size.

    python benchmarks/infer_speed.py --archs vgg19 resnet18 --of macs params --ratios 0.9 --round-to 1 8 16

Writes benchmarks/results/infer-speed.json and .md after every row, on any device, and resumes where it was stopped. Use
`--image-sizes 64` for larger images and `--methods` for other rules (such as prospr/tempered).
"""

import speed


def main() -> None:
    """Measure and write the table."""
    parser = speed.parser_of(
        __doc__,
        "infer-speed",
        engines=["torch", "onnxruntime"],
        methods=["uniform"],
        of=["macs", "params"],
        ratios=[0.9],
        round_to=[1, 8, 16],
        batches=[1, 8, 32],
        image_sizes=[32],
    )
    speed.measured(parser.parse_args())


if __name__ == "__main__":
    main()
