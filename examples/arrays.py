"""Find the stars in a stack of noisy images, and the main axes of a tall table: `make demo-arrays`.

Dask arrays on a cluster: the workers make the images and keep them (`persist`), and then answer
questions about them. Only the answers come here.
"""

from __future__ import annotations

import argparse
import time

import dask.array as da
import numpy as np

from distributed import Executor, progress

# The stars of the sky that is observed: row, column, brightness.
STARS = [(40, 60, 3.0), (128, 200, 2.0), (230, 31, 1.0)]
SIDE = 256
NOISE = 2.0


def sky() -> np.ndarray:
    """One image without noise. Stars are a few pixels wide."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = np.zeros((SIDE, SIDE))
    for row, column, brightness in STARS:
        image += brightness * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)
    return image


def observe(images: int) -> da.Array:
    """A stack of noisy images. Nothing is computed yet."""
    random = da.random.default_rng(seed=1)
    noise = random.normal(scale=NOISE, size=(images, SIDE, SIDE), chunks=(20, SIDE // 2, SIDE))
    return noise + sky()


def smooth(block: np.ndarray) -> np.ndarray:
    """The mean over 3 x 3 pixels of each image."""
    shifted = [np.roll(block, (y, x), axis=(1, 2)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return np.mean(shifted, axis=0)


def brightest(image: np.ndarray, count: int) -> list[tuple[int, int, float]]:
    """Row, column and brightness of the brightest pixels that are not close to a brighter one."""
    image = image.copy()
    found = []
    for _ in range(count):
        row, column = (int(i) for i in np.unravel_index(image.argmax(), image.shape))
        found.append((row, column, float(image[row, column])))
        image[max(0, row - 8) : row + 9, max(0, column - 8) : column + 9] = -np.inf
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workers", type=int, help="worker processes [one for each core]")
    parser.add_argument("--images", type=int, default=400, help="images in the stack [400]")
    parser.add_argument("--rows", type=int, default=400_000, help="rows of the table [400,000]")
    options = parser.parse_args()

    with Executor(n_workers=options.workers) as executor:
        print(executor)
        start = time.perf_counter()
        print(f"Making {options.images} images of {SIDE} x {SIDE} pixels on the workers:")
        stack = observe(options.images).persist()
        progress(stack)

        # Every pixel of a block needs its neighbours, also those in the next block.
        smoothed = stack.map_overlap(smooth, depth=(0, 1, 1), boundary="reflect")
        mean, deviation = executor.compute(smoothed.mean(axis=0), stack.std(), sync=True)
        print(f"The noise of a pixel is {deviation:.2f}. The brightest places:")
        for row, column, brightness in brightest(mean, len(STARS)):
            print(f"  row {row:>3}, column {column:>3}: {brightness:.2f}")

        random = da.random.default_rng(seed=2)
        table = random.normal(size=(options.rows, 20), chunks=(options.rows // 20, 20))
        scaled = table * np.linspace(1, 3, 20)
        _, singular, _ = da.linalg.svd(scaled)
        widths = singular.compute() / options.rows**0.5
        print(f"A table of {options.rows:,} rows is {widths[0]:.2f} wide along its first axis,")
        print(
            f"and {widths[-1]:.2f} along its last. All that took {time.perf_counter() - start:.1f} s."
        )


if __name__ == "__main__":
    main()
