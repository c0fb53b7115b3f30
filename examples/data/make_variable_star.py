"""Write `variable_star.csv` beside this file: the brightness of a simulated pulsating star.

Run it to make the same file again: the seed is fixed.
"""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path

PERIOD = 2.7182  # days
NIGHTS = 180
OBSERVATIONS = 600
NOISE = 0.08  # magnitudes


def observations() -> list[tuple[str, str]]:
    """Return (day, magnitude) pairs: clear nights only, uneven in time, with noise."""
    chance = random.Random(20240229)
    clear = [night for night in range(NIGHTS) if chance.random() < 0.6]
    days = sorted(chance.choice(clear) + chance.uniform(-0.2, 0.2) for _ in range(OBSERVATIONS))
    rows = []
    for day in days:
        phase = 2 * math.pi * day / PERIOD
        magnitude = 9.4 + 0.35 * math.sin(phase) + 0.11 * math.sin(2 * phase + 0.7)
        rows.append((f"{day:.4f}", f"{magnitude + chance.gauss(0, NOISE):.3f}"))
    return rows


if __name__ == "__main__":
    with Path(__file__).with_name("variable_star.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("day", "magnitude"))
        writer.writerows(observations())
