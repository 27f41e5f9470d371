"""One colour per cluster, the same in every chart, readable on a light and on a dark page."""

import math

LIGHTNESS = (0.58, 0.77, 0.68)
"""Neighbouring hues differ in lightness, too; each is readable on white and on black."""


def cluster_colours(num_clusters: int) -> list[str]:
    """Return `#rrggbb` per cluster: hues evenly around the circle, neighbours in number far apart."""
    steps = range(1, num_clusters + 1)
    golden = 0.382 * num_clusters
    stride = min((s for s in steps if math.gcd(s, num_clusters) == 1), key=lambda s: abs(s - golden))
    places = [i * stride % num_clusters for i in range(num_clusters)]
    return [_hex(LIGHTNESS[place % 3], 0.15, 0.07 + place / num_clusters) for place in places]


def _hex(lightness: float, chroma: float, turn: float) -> str:
    """Convert OKLCH to sRGB (https://bottosson.github.io/posts/oklab/), clipped to what a screen can show."""
    a, b = chroma * math.cos(math.tau * turn), chroma * math.sin(math.tau * turn)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(max(value, 0), 1))):02x}" for value in linear)


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
