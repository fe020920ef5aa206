"""Interpolation."""

from __future__ import annotations

from typing import Any

from op_harness import Case, Given, Refused
from torch.nn import functional as F

OPSETS = (17, 20)

LINE: Given = ("float32", ("N", 2, "L"))
IMAGE: Given = ("float32", ("N", 2, "H", "W"))
VOLUME: Given = ("float32", ("N", 1, "D", "H", "W"))
SIZES = [
    {"N": 2, "L": 5, "D": 3, "H": 5, "W": 4},
    {"N": 1, "L": 1, "D": 1, "H": 2, "W": 7},
    {"N": 1, "L": 8, "D": 4, "H": 9, "W": 1},
]
TORCH_MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}
SMOOTH = [(LINE, "linear"), (IMAGE, "bilinear"), (IMAGE, "linear"), (VOLUME, "trilinear")]


def resize(
    given: Given,
    settings: dict[str, Any],
    sizes: Any = SIZES,
    opsets: tuple[int, ...] = OPSETS,
    facts: tuple[str, ...] = (),
    size: Any = None,
) -> list[Case]:
    """torch's own function with the same settings; `size` computes symbolic sizes."""
    torch_settings = dict(settings)
    if settings.get("mode") == "linear":
        torch_settings["mode"] = TORCH_MODES[len(given[1])]

    def oracle(x: Any) -> Any:
        chosen = {**torch_settings, **({"size": size(x)} if size else {})}
        # Which place is the nearest depends on torch's float32 steps; float64 has its own.
        picks = settings.get("mode", "nearest").startswith("nearest")
        return F.interpolate(x.float() if picks else x, **chosen).to(x.dtype)

    return [
        Case(
            "interpolate",
            [given],
            settings,
            sizes=sizes,
            oracle=oracle,
            opsets=opsets,
            facts=facts,
            exact=False,
        )
    ]


STATIC = ((5, 7), (7, 5), (6, 4), (8, 12), (1, 9), (9, 1), (3, 123), (55, 56), (10, 3))
"""Size before and after; 3 to 123 is where float32 steps and exact quotients differ."""

CASES: list[Case | Refused] = [
    *(
        case
        for mode in ("nearest", "nearest-exact")
        for given in (LINE, IMAGE, VOLUME)
        for factor in (2.0, 3.0, 1.0)
        for case in resize(
            given, {"scale_factor": factor} | ({} if mode == "nearest" else {"mode": mode})
        )
    ),
    *(
        case
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic")
        for case in (
            *resize(
                IMAGE,
                {"scale_factor": 0.5, "mode": mode},
                sizes=[{"N": 1, "H": 6, "W": 4}, {"N": 2, "H": 5, "W": 9}],
                facts=("H >= 2", "W >= 2"),
            ),
            *resize(IMAGE, {"scale_factor": (1.0, 2.0), "mode": mode}),
        )
    ),
    *(
        case
        for mode in ("nearest", "nearest-exact")
        for before, after in STATIC
        if (mode, after) != ("nearest-exact", 123)
        for case in resize(
            ("float32", ("N", 1, before, 6)),
            {"size": (after, 4), "mode": mode},
            sizes=[{"N": 2}],
            opsets=(17, 19),
        )
    ),
    *(
        case
        for mode in ("nearest", "nearest-exact")
        for before, factor in (
            (5, 1.7),
            *(((4, 1.2), (9, 1.1)) if mode == "nearest-exact" else ()),
            (10, 1.2),
            (1, 1.2),
            (41, 41.0),
            (9, 0.4),
            (10, 0.3),
        )
        for case in resize(
            ("float32", ("N", 1, before)),
            {"scale_factor": factor, "mode": mode},
            sizes=[{"N": 2}],
            opsets=(17, 19),
        )
    ),
    *(
        case
        for mode in ("nearest",)
        for case in (
            *resize(IMAGE, {"size": (7, 5), "mode": mode}),
            *resize(IMAGE, {"scale_factor": (1.75, 3.0), "mode": mode}),
            *resize(
                IMAGE,
                {"size": ("H + W", "2*W - 1"), "mode": mode},
                size=lambda x: (x.shape[2] + x.shape[3], 2 * x.shape[3] - 1),
            ),
            *resize(
                IMAGE,
                {"size": "N + 2", "mode": mode},
                size=lambda x: x.shape[0] + 2,
            ),
        )
    ),
    *(
        case
        for given, mode in SMOOTH
        for settings in (
            {"scale_factor": 2.0},
            {"scale_factor": 1.5},
            {"scale_factor": 2.0, "align_corners": True},
            {"size": 7},
            {"size": 7, "align_corners": True},
            {"size": 1},
            {"size": 1, "align_corners": True},
            {"scale_factor": 2.0, "recompute_scale_factor": True},
        )
        for case in resize(given, {**settings, "mode": mode})
    ),
    *(
        case
        for settings in (
            {"scale_factor": 2.0},
            {"scale_factor": 1.5},
            {"scale_factor": 2.0, "align_corners": True},
            {"size": (7, 3)},
            {"size": (1, 6)},
            {"size": (1, 6), "align_corners": True},
        )
        for case in resize(IMAGE, {**settings, "mode": "bicubic"})
    ),
    *(
        case
        for mode in ("bilinear", "bicubic", "nearest")
        for factor in (1.7, 0.6, 2.4)
        for recompute in (False, True)
        for case in resize(
            ("float32", ("N", 1, 7, 10)),
            {"scale_factor": factor, "mode": mode}
            | ({"recompute_scale_factor": True} if recompute else {}),
            sizes=[{"N": 2}],
            opsets=(17, 18),
        )
    ),
    *(
        case
        for mode in ("bilinear", "bicubic")
        for factor in (1.2, (1.2, 2.0), (1.0, 1.2))
        if mode == "bilinear" or factor == (1.2, 2.0)
        for case in resize(
            ("float32", ("N", 2, 3, 4)),
            {"scale_factor": factor, "mode": mode},
            sizes=[{"N": 2}],
            opsets=(17, 18),
        )
    ),
    *(
        case
        for mode in ("bilinear", "bicubic")
        for settings in (
            {"size": (3, 4)},
            {"size": (11, 3)},
            {"scale_factor": 0.5},
            {"scale_factor": 0.3},
            {"scale_factor": (1.2, 2.0)},
            {"scale_factor": 2.0},
        )
        for case in resize(
            ("float32", ("N", 2, 8, 9)),
            {**settings, "mode": mode, "antialias": True},
            sizes=[{"N": 2}],
            opsets=(18, 23),
        )
    ),
    *(
        case
        for size in (4, (3, 5), 1, (8, 10))
        for case in resize(
            ("float32", ("N", 2, 8, 10)),
            {"size": size, "mode": "area"},
            sizes=[{"N": 2}],
            opsets=(17, 23),
        )
    ),
    *resize(("float32", ("N", 2, 9)), {"scale_factor": 0.5, "mode": "area"}, sizes=[{"N": 2}]),
    Refused(
        "interpolate",
        [("float64", ("N", 1, 5))],
        {"size": 7},
        code="unsupported",
        match="float64",
    ),
    Refused("interpolate", [IMAGE], match="either `size` or `scale_factor`"),
    Refused("interpolate", [IMAGE], {"size": 3, "scale_factor": 2.0}, match="either `size` or"),
    Refused("interpolate", [IMAGE], {"size": (3, 4, 5)}, match="3 numbers, but .* 2 spatial axes"),
    Refused("interpolate", [IMAGE], {"scale_factor": (2.0,)}, match="1 numbers"),
    Refused("interpolate", [IMAGE], {"scale_factor": 1.7}, match="while H is unknown"),
    Refused("interpolate", [IMAGE], {"size": 0}, match="less than 1"),
    Refused("interpolate", [("float32", (1, 1, 3))], {"scale_factor": 0.3}, match="become 0"),
    Refused("interpolate", [LINE], {"size": 3, "mode": "bicubic"}, match="must have 4 axes"),
    Refused("interpolate", [LINE], {"size": 3, "mode": "bilinear"}, match="must have 4 axes"),
    Refused("interpolate", [IMAGE], {"size": 3, "align_corners": True}, match="means nothing"),
    Refused("interpolate", [IMAGE], {"size": 3, "antialias": True}, match="two linear or cubic"),
    Refused("interpolate", [IMAGE], {"size": 3, "recompute_scale_factor": True}, match="only with"),
    Refused(
        "interpolate",
        [("int64", ("N", 1, 3))],
        {"size": 3},
        code="dtype-mismatch",
        match="must be floating",
    ),
    Refused(
        "interpolate",
        [IMAGE],
        {"size": 3, "mode": "bilinear", "antialias": True},
        code="unsupported",
        match="opset 17 has no antialiasing",
    ),
    Refused(
        "interpolate",
        [IMAGE],
        {"size": 3, "mode": "bilinear", "antialias": True, "align_corners": True},
        code="unsupported",
        match="no exact form",
        opset=18,
    ),
    Refused(
        "interpolate",
        [IMAGE],
        {"scale_factor": 2.0, "mode": "area"},
        code="unsupported",
        match="known sizes",
    ),
    *(
        Refused(
            "interpolate",
            [given],
            {"size": size, "mode": "nearest-exact"},
            code="unsupported",
            match="kernels for one and for two axes differ",
        )
        for given, size in ((IMAGE, 3), (("float32", ("N", 1, 2)), 41))
    ),
    *(
        Refused(
            "interpolate",
            [given],
            {"scale_factor": factor},
            code="unsupported",
            match="kernels for one and for two axes differ",
        )
        for given, factor in (
            (IMAGE, 1.25),
            (IMAGE, 2.25),
            (("float32", ("N", 1, 3)), 1.2),
            (("float32", ("N", 1, 3)), 2.2),
        )
    ),
    *(
        Refused(
            "interpolate",
            [given],
            {"scale_factor": 1.25, "mode": "bicubic"},
            code="unsupported",
            match="copy what the factors",
        )
        for given in (IMAGE, ("float32", ("N", 1, 3, 2)))
    ),
    Refused(
        "interpolate",
        [IMAGE],
        {"scale_factor": 1.25, "mode": "bilinear"},
        code="unsupported",
        match="leaves as it is",
    ),
    Refused(
        "interpolate",
        [("float32", ("N", 1, 10, 10))],
        {"scale_factor": 2.3, "mode": "bilinear"},
        code="unsupported",
        match="to another size",
    ),
]
