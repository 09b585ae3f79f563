"""Draws docs/network.svg: the network of equation 1, with the numbers of a built one.

python docs/tools/network_drawing.py
"""

from pathlib import Path

DRAWING = Path(__file__).resolve().parents[1] / "network.svg"
LEVELS, BASE_FILTERS = 5, 8
ROW, BOX, LEFT, RIGHT = 84, (104, 46), 70, 570  # pixels: height of a level, boxes, their columns
STYLE = """
  text { font: 14px sans-serif; fill: #1b2a33; text-anchor: middle; dominant-baseline: central }
  .small { font-size: 12px; fill: #46555e }
  .panel { fill: #fbfcfc }
  .encoder { fill: #d5e8f3; stroke: #1d6996 }
  .decoder { fill: #fbe3cf; stroke: #b35806 }
  path { fill: none; stroke-width: 1.5 }
  .down { stroke: #1d6996 }
  .skip { stroke: #1d6996; stroke-dasharray: 5 3 }
  .own { stroke: #1d6996; stroke-width: 2.5 }
  .up { stroke: #b35806; stroke-width: 2.5 }
"""


def drawing(kernels):
    """Returns the SVG.

    Args:
        kernels: weights of the convolutions of a built network, which the caption states.
    """
    lines = [f'<rect class="panel" width="760" height="{ROW * LEVELS + 96}" rx="8"/>']
    lines += [_text(LEFT + 52, 26, "encoder"), _text(RIGHT + 52, 26, "decoder")]
    for j in range(1, LEVELS + 1):  # arrows first: boxes lie on them
        for u in range(1, min(j, LEVELS - 1) + 1):
            if j == LEVELS and u < LEVELS - 1:
                continue  # E_B enters at u = B - 1 only
            kind = "own" if j == u else "skip"
            spread = (j - u - (LEVELS - 1 - u) / 2) * 8
            lines.append(_arrow(kind, LEFT + BOX[0], _middle(j), RIGHT - 6, _middle(u) + spread))
        if j < LEVELS:
            lines.append(_arrow("down", LEFT + 52, _middle(j) + 23, LEFT + 52, _middle(j + 1) - 29))
        if j < LEVELS - 1:
            above, below = _middle(j) + 29, _middle(j + 1) - 23
            lines.append(_arrow("up", RIGHT + 52, below, RIGHT + 52, above))
    for u in range(1, LEVELS + 1):
        lines += _box("encoder", LEFT, u, f"E{u}")
        if u < LEVELS:
            lines += _box("decoder", RIGHT, u, f"D{u}")
    bottom = 44 + ROW * LEVELS
    lines.append(_text(380, bottom + 8, "thick: the same level and D of the level below; dashed: "
                       "deeper levels, upsampled (deep skips)", "small"))  # fmt: skip
    lines.append(_text(380, bottom + 30, f"light_vgg16, base width {BASE_FILTERS}: {kernels:,} "
                       "weights of convolutions", "small"))  # fmt: skip
    title = "The deep-skip network: encoder maps E1 to E5, decoder maps D1 to D4"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {ROW * LEVELS + 96}" '
        f'role="img"><title>{title}</title><style>{STYLE}</style>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="8" '
        'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        '<polygon points="0,0 8,4 0,8" fill="#46555e"/></marker></defs>\n'
        + "\n".join(lines) + "\n</svg>\n"
    )  # fmt: skip


def _middle(u):
    return 44 + ROW * (u - 1) + BOX[1] / 2


def _text(x, y, words, kind=""):
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{words}</text>'


def _arrow(kind, x, y, to_x, to_y):
    line = f'd="M{x:g} {y:g} L{to_x:g} {to_y:g}"'
    return f'<path class="{kind}" marker-end="url(#tip)" {line}/>'


def _box(kind, x, u, name):
    """A map, with its channels and stride."""
    y = _middle(u)
    corner = f'x="{x}" y="{y - BOX[1] / 2:g}" width="{BOX[0]}" height="{BOX[1]}"'
    size = f"1/{2 ** (u - 1)} size" if u > 1 else "full size"
    return [
        f'<rect class="{kind}" rx="6" {corner}/>',
        _text(x + BOX[0] / 2, y - 9, name),
        _text(x + BOX[0] / 2, y + 10, f"{BASE_FILTERS * 2 ** (u - 1)} ch, {size}", "small"),
    ]


def main():
    """Builds the network, counts it and writes the drawing."""
    from keras_deepskip import analysis, build_model

    model = build_model(levels=LEVELS, base_filters=BASE_FILTERS)
    kernels = sum(analysis.conv_parameters(model).values())
    DRAWING.write_text(drawing(kernels), encoding="utf-8")


if __name__ == "__main__":
    main()
