"""Joining, splitting, reshaping, reordering, indexing and padding."""

from __future__ import annotations

from typing import Any

import torch
from op_harness import Case, Given, Refused
from torch.nn import functional as F

SEVERAL = (17, 18, 23)

CUBE: Given = ("float32", ("N", "T", 6))
CUBES = [{"N": 2, "T": 5}, {"N": 1, "T": 3}, {"N": 3, "T": 8}]
IMAGE: Given = ("float32", ("N", 4, "H", "W"))
IMAGES = [{"N": 2, "H": 5, "W": 6}, {"N": 1, "H": 7, "W": 4}]
DTYPES = ("float32", "int64", "int32", "int16", "int8", "uint8", "bool", "float64")


def case(
    op: str,
    given: Given | list[Given],
    settings: dict[str, Any],
    oracle: Any,
    sizes: Any = None,
    **more: Any,
) -> Case:
    inputs = given if isinstance(given, list) else [given]
    if sizes is None:
        sizes = CUBES if inputs[0] == CUBE or inputs[0][1] == CUBE[1] else IMAGES
    return Case(op, inputs, settings, sizes=sizes, oracle=oracle, **more)


def typed(dtype: str) -> Given:
    return (dtype, ("N", "T", 6))


def places(most: int) -> Any:
    """Indices that exist."""
    return lambda generator, shape: generator.integers(0, most, shape)


JOINING: list[Case | Refused] = [
    *(
        case(
            "concat",
            [typed(dtype), (dtype, ("N", "M", 6)), typed(dtype)],
            {"axis": axis},
            lambda *xs: torch.cat(xs, 1),
            [{"N": 2, "T": 3, "M": 1}, {"N": 1, "T": 1, "M": 4}],
        )
        for dtype in DTYPES
        for axis in ((1, -2, "T") if dtype == "float32" else (1,))
    ),
    case("concat", [CUBE], {"axis": 0}, lambda x: x),
    case(
        "concat",
        [("float32", ("N", 3)), ("float32", ("M", 3))],
        {"axis": "N"},
        lambda a, b: torch.cat((a, b)),
        [{"N": 2, "M": 3}],
    ),
    case(
        "concat",
        [("float32", ("N", "K")), ("float32", ("M", 2))],
        {"axis": 1},
        lambda a, b: torch.cat((a, b), 1),
        [{"N": 2, "M": 2, "K": 3}],
        facts=["N == M"],
    ),
    *(
        case(
            "stack",
            [typed(dtype), typed(dtype)],
            {"axis": axis} if axis != 0 else {},
            lambda *xs, axis=axis: torch.stack(xs, axis),
        )
        for dtype in ("float32", "int64", "bool")
        for axis in (0, 1, 3, -1, -4)
    ),
    case("stack", [CUBE], {"axis": 1}, lambda x: x.unsqueeze(1)),
    case("stack", [("float32", ())] * 3, {}, lambda *xs: torch.stack(xs), CUBES),
    *(
        case(
            "split",
            (dtype, ("N", "T", 6)),
            {"parts": parts, "axis": axis},
            lambda x, count=count: x.chunk(count, 2),
            opsets=SEVERAL,
        )
        for dtype in ("float32", "int64", "bool")
        for parts, count, axis in ((2, 2, 2), (3, 3, -1), (6, 6, 2), (1, 1, 2))
    ),
    case(
        "split",
        ("float32", ("3*K", 2)),
        {"parts": 3, "axis": 0},
        lambda x: x.chunk(3),
        [{"K": 1}, {"K": 4}],
        opsets=SEVERAL,
    ),
    case(
        "split",
        ("float32", ("K", 2)),
        {"parts": 2, "axis": "K"},
        lambda x: x.chunk(2),
        [{"K": 2}, {"K": 6}],
        facts=["K % 2 == 0"],
        opsets=SEVERAL,
    ),
    case("split", CUBE, {"parts": (1, 2, 3), "axis": 2}, lambda x: x.split((1, 2, 3), 2)),
    case("split", CUBE, {"parts": (3, 3), "axis": 2}, lambda x: x.split(3, 2), opsets=SEVERAL),
    case(
        "split",
        CUBE,
        {"parts": (1, "T - 2", 1), "axis": "T"},
        lambda x: x.split((1, x.shape[1] - 2, 1), 1),
        opsets=SEVERAL,
    ),
    *(
        case(
            "chunk",
            ("float32", (size, "N")),
            {"chunks": count, "axis": 0},
            lambda x, count=count: x.chunk(count),
            [{"N": 2}],
            opsets=SEVERAL,
        )
        for size, count in ((6, 2), (7, 2), (7, 3), (5, 3), (10, 4), (3, 3), (5, 1))
    ),
    case(
        "chunk",
        ("float32", ("2*K", 3)),
        {"chunks": 2, "axis": 0},
        lambda x: x.chunk(2),
        [{"K": 1}, {"K": 3}],
        opsets=SEVERAL,
    ),
    case(
        "chunk",
        ("float32", ("N", "K")),
        {"chunks": 2, "axis": "K"},
        lambda x: x.chunk(2, 1),
        [{"N": 1, "K": 2}, {"N": 2, "K": 5}, {"N": 2, "K": 6}],
        facts=["K >= 2"],
        opsets=SEVERAL,
    ),
    Refused("concat", [CUBE, IMAGE], {"axis": 1}, match="of as many axes"),
    Refused(
        "concat",
        [CUBE, typed("int64")],
        {"axis": 1},
        code="dtype-mismatch",
        match="of one element type",
    ),
    Refused(
        "concat",
        [("float32", ("N", 3)), ("float32", ("N", 4))],
        {"axis": 0},
        match="axis 1 is 3 in the first value, but 4 in value 2",
    ),
    Refused(
        "concat",
        [("float32", ("N", "T")), ("float32", ("T", "N"))],
        {"axis": "N"},
        match="`N` is axis 0 of the first value, but axis 1 of value 2",
    ),
    Refused("concat", [], {"axis": 1}, match="at least 1 value"),
    Refused("stack", [CUBE], {"axis": 4}, code="unknown-axis", match="-4 to 3, not at 4"),
    Refused("stack", [CUBE, ("float32", ("N", "T", 5))], match="6 in the first value, but 5"),
    Refused("split", [CUBE], {"parts": 4, "axis": 2}, match="into 4 equal parts"),
    Refused("split", [CUBE], {"parts": 2, "axis": "T"}, match="axis T of .* into 2 equal parts"),
    Refused("split", [CUBE], {"parts": 2}, match="needs an `axis`"),
    Refused("split", [CUBE], {"parts": (2, 3), "axis": 2}, match="add up to 5, .* has size 6"),
    Refused("split", [CUBE], {"parts": (), "axis": 2}, match="no parts at all"),
    Refused("split", [CUBE], {"parts": (7, -1), "axis": 2}, match="cannot be negative: -1"),
    Refused(
        "split", [CUBE], {"parts": 2, "axis": 2, "sizes": {"h": 2}}, match="only with a pattern"
    ),
    Refused("chunk", [("float32", (5,))], {"chunks": 4, "axis": 0}, match="4 parts .* size -1"),
    Refused("chunk", [("float32", ("K",))], {"chunks": 2, "axis": 0}, match="always make 2 parts"),
]

RESHAPING: list[Case | Refused] = [
    *(
        case("reshape", CUBE, {"shape": shape}, oracle)
        for shape, oracle in (
            (("N", "T", 2, 3), lambda x: x.unflatten(2, (2, 3))),
            (("N", "6*T"), lambda x: x.flatten(1)),
            (("N", -1), lambda x: x.flatten(1)),
            ((-1,), lambda x: x.flatten()),
            (("N*T", 6), lambda x: x.flatten(0, 1)),
            ((-1, "T", 6), lambda x: x),
            ((3, "N", -1), lambda x: x.reshape(3, x.shape[0], -1)),
            ((1, "N", 1, "T", 6), lambda x: x[None, :, None]),
            (("2*N", "T", 3), lambda x: x.reshape(2 * x.shape[0], -1, 3)),
            (("T", "N", 6), lambda x: x.reshape(x.shape[1], x.shape[0], 6)),
        )
    ),
    case("reshape", ("float32", (1, 1)), {"shape": ()}, lambda x: x.squeeze(), [{}]),
    case("reshape", ("float32", ()), {"shape": (1, -1)}, lambda x: x[None, None], [{}]),
    case(
        "reshape",
        ("float32", ("N", "D")),
        {"shape": ("N", 4, -1)},
        lambda x: x.unflatten(1, (4, -1)),
        [{"N": 2, "D": 8}, {"N": 1, "D": 4}],
        facts=["D % 4 == 0"],
    ),
    *(
        case(name, IMAGE, settings, lambda x, bounds=bounds: x.flatten(*bounds), opsets=(17, 23))
        for name in ("Flatten", "flatten")
        for settings, bounds in (
            ({}, (1,)),
            ({"start_axis": 2}, (2,)),
            ({"start_axis": 0, "end_axis": 1}, (0, 1)),
            ({"start_axis": "H", "end_axis": "W"}, (2, 3)),
            ({"start_axis": 1, "end_axis": -2}, (1, 2)),
            ({"start_axis": 0}, (0,)),
            ({"end_axis": 1}, (1, 1)),
        )
    ),
    case("flatten", ("float32", ("N", 7)), {}, lambda x: x, IMAGES),
    *(
        case("unflatten", CUBE, {"axis": axis, "shape": shape}, oracle)
        for axis, shape, oracle in (
            (2, (2, 3), lambda x: x.unflatten(2, (2, 3))),
            (-1, (-1, 1, 2), lambda x: x.unflatten(2, (3, 1, 2))),
            ("T", (1, "T"), lambda x: x[:, None]),
            (0, (-1, 1), lambda x: x[:, None]),
        )
    ),
    *(
        case("permute", CUBE, {"axes": axes}, lambda x, order=order: x.permute(order))
        for axes, order in (
            ((0, 2, 1), (0, 2, 1)),
            ((2, 0, 1), (2, 0, 1)),
            (("T", "N", -1), (1, 0, 2)),
            ((0, 1, 2), (0, 1, 2)),
        )
    ),
    *(
        case("transpose", typed(dtype), {"axis0": a, "axis1": b}, lambda x, p=p: x.transpose(*p))
        for dtype in ("float32", "int16", "bool")
        for a, b, p in ((0, 1, (0, 1)), ("T", -1, (1, 2)), (-3, 2, (0, 2)), (1, 1, (1, 1)))
    ),
    *(
        case(
            "squeeze",
            ("float32", (1, "N", 1, 1)),
            {"axis": axis},
            lambda x, p=p: x.squeeze(p),
            IMAGES,
        )
        for axis, p in ((0, 0), (-1, 3), ((0, 2), (0, 2)), ((-1, 0, -2), (0, 2, 3)))
    ),
    case(
        "squeeze",
        ("float32", ("N", "K")),
        {"axis": "K"},
        lambda x: x[:, 0],
        [{"N": 3, "K": 1}],
        facts=["K == 1"],
    ),
    *(
        case("unsqueeze", CUBE, {"axis": axis}, lambda x, axis=axis: x.unsqueeze(axis))
        for axis in (0, 1, 3, -1, -4)
    ),
    *(
        case("expand", (dtype, (1, "N", 1)), {"shape": shape}, oracle, CUBES)
        for dtype in ("float32", "int64", "bool")
        for shape, oracle in (
            ((3, -1, -1), lambda x: x.expand(3, -1, -1)),
            ((3, "N", 5), lambda x: x.expand(3, -1, 5)),
            (("N", 2, "N", "N", 1), lambda x: x.expand(x.shape[1], 2, x.shape[1], -1, -1)),
            ((1, "N", 1), lambda x: x),
        )
    ),
    *(
        case("tile", typed(dtype), {"repeats": repeats}, oracle)
        for dtype in ("float32", "int64", "bool")
        for repeats, oracle in (
            ((2,), lambda x: torch.cat((x, x), 2)),
            ((1, 2, 1), lambda x: torch.cat((x, x), 1)),
            ((3, 1, 1, 2), lambda x: torch.stack([torch.cat((x, x), 2)] * 3)),
            (("N", 1, 1), lambda x: torch.cat([x] * x.shape[0])),
        )
    ),
    *(
        case(
            "repeat_interleave",
            CUBE,
            {"repeats": repeats, "axis": axis},
            lambda x, place=place, repeats=repeats: x.repeat_interleave(
                x.shape[1] if repeats == "T" else repeats, place
            ),
        )
        for repeats, axis, place in ((2, 0, 0), (3, "T", 1), (2, -1, 2), ("T", 2, 2), (1, 1, 1))
    ),
    Refused("reshape", [CUBE], {"shape": ("N", "T", 5)}, match="elements, but there are"),
    Refused("reshape", [CUBE], {"shape": (-1, -1, 6)}, match="only one size may be -1"),
    Refused("reshape", [CUBE], {"shape": ("N", 4, -1)}, match="for every one of the size -1"),
    Refused("reshape", [CUBE], {"shape": ("N", 0, -1)}, match="-1 can be anything"),
    Refused("reshape", [CUBE], {"shape": (-2, "-3*N*T")}, match="negative, but is -2"),
    Refused("flatten", [("float32", ("N",))], code="unknown-axis", match="axis 1 does not exist"),
    Refused("flatten", [IMAGE], {"start_axis": 2, "end_axis": 1}, match="stands after"),
    Refused("unflatten", [CUBE], {"axis": 2, "shape": (4, -1)}, match="6 in an axis"),
    Refused("permute", [CUBE], {"axes": (0, 1)}, match="names 2"),
    Refused("permute", [CUBE], {"axes": (0, 1, 1)}, match="named more than once"),
    Refused("squeeze", [CUBE], {"axis": "T"}, match="axis T of .* has size T"),
    Refused("expand", [CUBE], {"shape": (3, 6)}, match="2 sizes, but .* has 3 axes"),
    Refused("expand", [CUBE], {"shape": ("N", "T", 7)}, match="size 6 and cannot become 7"),
    Refused("expand", [CUBE], {"shape": (-1, "N", "T", 6)}, match="cannot keep its size"),
    Refused("tile", [CUBE], {"repeats": (0,)}, match="at least 1, but has 0"),
    Refused("repeat_interleave", [CUBE], {"repeats": 0, "axis": 1}, match="at least 1, but is 0"),
]

INDEXING: list[Case | Refused] = [
    *(
        case("slice", typed(dtype), {"axis": axis, **bounds}, oracle)
        for dtype in ("float32", "int64", "bool")
        for axis, bounds, oracle in (
            (2, {"start": 1}, lambda x: x[..., 1:]),
            (-1, {"end": 4}, lambda x: x[..., :4]),
            (2, {"start": -3, "end": -1}, lambda x: x[..., -3:-1]),
            (2, {"start": 1, "end": 6, "step": 2}, lambda x: x[..., 1:6:2]),
            ("T", {"end": -1}, lambda x: x[:, :-1]),
            ("T", {"start": -1}, lambda x: x[:, -1:]),
            ("T", {"step": 3}, lambda x: x[:, ::3]),
            ("T", {"start": "T - 2"}, lambda x: x[:, -2:]),
            ("T", {"start": 1, "end": "T//2 + 1"}, lambda x: x[:, 1 : x.shape[1] // 2 + 1]),
            ("N", {}, lambda x: x),
            (1, {"end": "T"}, lambda x: x),
        )
    ),
    *(
        case("select", typed(dtype), {"axis": axis, "index": index}, oracle)
        for dtype in ("float32", "int64", "bool")
        for axis, index, oracle in (
            (2, 0, lambda x: x[..., 0]),
            (-1, -2, lambda x: x[..., 4]),
            ("T", -1, lambda x: x[:, -1]),
            ("T", "T//2", lambda x: x[:, x.shape[1] // 2]),
            (0, 0, lambda x: x[0]),
        )
    ),
    *(
        Case(
            op,
            [CUBE, (dtype, dims)],
            {"axis": axis},
            sizes=[{"N": 2, "T": 5, "K": 4}, {"N": 1, "T": 3, "K": 1}],
            oracle=lambda x, i, place=place: x[(*[slice(None)] * place, i.long())],
            values=[None, places(most)],
        )
        for op, dims in (
            ("take", ("K",)),
            ("take", ()),
            ("take", ("K", 2)),
            ("index_select", ("K",)),
        )
        for dtype, axis, place, most in (
            ("int64", 2, 2, 6),
            ("int32", "T", 1, 3),
            ("int64", 0, 0, 1),
        )
    ),
    *(
        Case(
            "gather",
            [(dtype, ("N", "T", 6)), ("int64", index)],
            {"axis": axis},
            sizes=[{"N": 2, "T": 5, "K": 4}, {"N": 1, "T": 3, "K": 1}],
            oracle=lambda x, i, place=place: torch.gather(x, place, i),
            values=[None, places(most)],
        )
        for dtype in ("float32", "int16", "bool")
        for index, axis, place, most in (
            (("N", "T", "K"), 2, 2, 6),
            (("N", "K", 6), "T", 1, 3),
            ((1, "T", 4), -1, 2, 6),
            (("N", 2, 5), 1, 1, 3),
        )
    ),
    *(
        case("flip", typed(dtype), {"axis": axis}, lambda x, p=p: x.flip(p))
        for dtype in DTYPES
        for axis, p in ((1, (1,)), (("N", -1), (0, 2)), ((0, 1, 2), (0, 1, 2)))
    ),
    *(
        case(
            "roll",
            typed(dtype),
            {"shifts": shifts, "axis": axis},
            lambda x, shifts=shifts, p=p: x.roll(shifts, p),
        )
        for dtype in ("float32", "int64", "bool")
        for shifts, axis, p in (
            (1, "T", 1),
            (-1, "T", 1),
            (2, 2, 2),
            (-2, -1, 2),
            (7, 1, 1),
            (-9, 1, 1),
            (6, 2, 2),
            (0, 0, 0),
            ((2, -1), (1, 2), (1, 2)),
        )
    ),
    Refused("slice", [CUBE], {"axis": 2, "end": 7}, match="does not lie in axis 2"),
    Refused("slice", [CUBE], {"axis": 2, "start": -7}, match="from -1 to 6"),
    Refused("slice", [CUBE], {"axis": 2, "start": 4, "end": 3}, match="from 4 to 3"),
    Refused("slice", [CUBE], {"axis": 2, "step": 0}, code="invalid-attribute", match="greater"),
    Refused("select", [CUBE], {"axis": 2, "index": 6}, match="has no place 6"),
    Refused("select", [CUBE], {"axis": 2, "index": -7}, match="has no place -7"),
    Refused("take", [CUBE, CUBE], {"axis": 0}, code="dtype-mismatch", match="int32 or int64"),
    Refused("index_select", [CUBE, ("int64", (2, 2))], {"axis": 0}, match="must have 1 axes"),
    Refused(
        "gather",
        [CUBE, ("int32", ("N", "T", 6))],
        {"axis": 0},
        code="dtype-mismatch",
        match="int64",
    ),
    Refused("gather", [CUBE, ("int64", ("N", 6))], {"axis": 0}, match="of as many axes"),
    Refused("gather", [CUBE, ("int64", ("N", "T", 7))], {"axis": 0}, match="7 in the index"),
    Refused("flip", [CUBE], {"axis": (1, "T")}, match="named more than once"),
    Refused("roll", [CUBE], {"shifts": (1, 2), "axis": 1}, match="2 shifts for 1 axes"),
]

PADDING: list[Case | Refused] = [
    *(
        case(
            "pad",
            (dtype, ("N", 4, "H", "W")),
            {"padding": padding},
            lambda x, padding=padding: F.pad(x, padding),
            opsets=(17, 23),
        )
        for dtype in DTYPES
        for padding in ((1, 2), (0, 1, 2, 0), (1, 0, 0, 2, 1, 1, 0, 1), (-1, 2), (0, 0, -1, -2))
    ),
    *(
        case("pad", IMAGE, {"padding": padding, "axis": axis, "value": value}, oracle)
        for value in (-1.5, float("-inf"))
        for padding, axis, oracle in (
            ((1, 2), "H", lambda x, v=value: F.pad(x, (0, 0, 1, 2), value=v)),
            ((0, 3), 1, lambda x, v=value: F.pad(x, (0, 0, 0, 0, 0, 3), value=v)),
            ((2, 0), -1, lambda x, v=value: F.pad(x, (2, 0), value=v)),
            ((1, -1), 2, lambda x, v=value: F.pad(x, (0, 0, 1, -1), value=v)),
        )
    ),
    *(
        case(
            "pad",
            (dtype, ("N", 4, "H", "W")),
            {"padding": (0, 1), "value": value},
            lambda x, value=value: F.pad(x, (0, 1), value=value),
        )
        for dtype, value in (("int64", 7.0), ("int16", -3.0), ("bool", 1.0))
    ),
    case(
        "pad",
        IMAGE,
        {"padding": ("W", "H//2"), "axis": "W"},
        lambda x: F.pad(x, (x.shape[3], x.shape[2] // 2)),
        opsets=(17, 23),
    ),
    *(
        case(
            "pad",
            ("float32", dims),
            {"padding": padding, "mode": mode},
            lambda x, padding=padding, mode=mode: F.pad(x, padding, mode),
            [{"N": 2, "H": 5, "W": 6}, {"N": 1, "H": 7, "W": 4}],
            facts=["H >= 5", "W >= 4"],
            opsets=(17, 23),
        )
        for mode in ("reflect", "replicate", "circular")
        for dims, padding in (
            (("N", "H", "W"), (2, 1)),
            (("H", "W"), (0, 3)),
            (("N", "H", "W"), (1, 2, 3, 0)),
            (("N", 2, "H", "W"), (3, 1, 0, 2)),
            (("N", 3, "H", "W"), (1, 2, 2, 1, 1, 0)),
            (("N", 2, 3, "H", "W"), (1, 2, 2, 1, 1, 2)),
        )
    ),
    *(
        case(
            "pad",
            ("float32", ("N", 2, "H", "W")),
            {"padding": (2, 1), "axis": "H", "mode": mode},
            lambda x, mode=mode: F.pad(x, (0, 0, 2, 1), mode),
            [{"N": 2, "H": 5, "W": 6}, {"N": 1, "H": 7, "W": 4}],
            facts=["H >= 3"],
        )
        for mode in ("reflect", "replicate", "circular")
    ),
    Refused("pad", [IMAGE], {"padding": (1,)}, match="1 numbers"),
    Refused("pad", [("float32", ("N",))], {"padding": (1, 1, 1, 1)}, match="4 numbers"),
    Refused("pad", [IMAGE], {"padding": (1, 1, 1, 1), "axis": 1}, match="two numbers for one"),
    Refused("pad", [IMAGE], {"padding": (0, -5), "axis": 1}, match="cuts more off"),
    Refused(
        "pad",
        [("int64", ("N",))],
        {"padding": (1, 1), "value": 0.5},
        code="dtype-mismatch",
        match="0.5, which int64 cannot hold",
    ),
    Refused(
        "pad",
        [("float32", ("N", 2, 3))],
        {"padding": (3, 0), "mode": "reflect"},
        match="at least 4",
    ),
    Refused(
        "pad",
        [("float32", ("N", 2, 3))],
        {"padding": (4, 0), "mode": "circular"},
        match="at least 4",
    ),
    Refused(
        "pad", [IMAGE], {"padding": (1, 1), "mode": "reflect"}, match="the last 1, 2 or 3 axes"
    ),
    Refused(
        "pad",
        [("float32", ("N", 2, 3))],
        {"padding": (-1, 0), "mode": "replicate"},
        match="known and not negative",
    ),
]

CASES = [*JOINING, *RESHAPING, *INDEXING, *PADDING]
