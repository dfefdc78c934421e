"""Draw the picture of docs/k-center.md: what k-center picks of real images, beside those that are labelled."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_digits

import pickwise as pw

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "k_center.png"


def main() -> None:
    """Pick 60 digits that are far from 40 labelled ones, and draw them."""
    digits = load_digits().data
    labelled = list(range(40))
    cover = pw.k_center(digits, k=60, labelled=labelled)
    PICTURE.parent.mkdir(exist_ok=True)
    cover.plot(digits, labelled).savefig(PICTURE, dpi=80)
    print(f"{PICTURE.name}: {cover!r}")


if __name__ == "__main__":
    main()
