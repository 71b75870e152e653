"""Inference of dense networks against slim ones, by engine, budget, rounding of the widths and batch size.

    python benchmarks/infer_speed.py --archs vgg19 resnet18 --budgets macs=0.9 params=0.9 --round-to 1 8 16

Writes benchmarks/results/infer-speed.json and .md after every plan, on whatever device there is; `--image-size 64` for
larger images, `--methods` for other rules (such as prospr/tempered).
"""

import speed


def main() -> None:
    """Measures and writes the table."""
    parser = speed.parser_of(
        __doc__,
        "infer-speed",
        engines=["torch", "onnxruntime"],
        methods=["uniform"],
        budgets=["macs=0.9", "params=0.9"],
        round_to=[1, 8, 16],
        batches=[1, 8, 32],
    )
    options = parser.parse_args()
    cells = speed.measured(options)
    speed.write(options, cells)
    print(speed.table(cells))


if __name__ == "__main__":
    main()
