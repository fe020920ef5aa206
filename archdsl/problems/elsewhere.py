"""What PyTorch, Keras and Python call things, and what they are here.

One table for names, one for what follows a dot, one for arguments.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final, NamedTuple

from archdsl.diagnostics import Fix
from archdsl.source import Span


class Here(NamedTuple):
    """What something is here: a sentence, and the text that replaces the name, if one does."""

    help: str
    replacement: str | None = None


NAMES: Final = {
    # PyTorch's and Keras's layers
    "AvgPool2D": "AvgPool", "AveragePooling": "AvgPool", "MaxPooling": "MaxPool",
    "BatchNormalization": "BatchNorm", "LayerNormalization": "LayerNorm", "Dense": "Linear",
    "GlobalAveragePooling": "global_avg_pool", "GlobalMaxPooling": "global_max_pool",
    "GlobalAvgPool": "global_avg_pool", "GlobalMaxPool": "global_max_pool",
    "GroupNormalization": "GroupNorm", "UpSampling": "Upsample", "ConvTransposed": "ConvTranspose",
    "Deconv": "ConvTranspose", "Deconvolution": "ConvTranspose", "Convolution": "Conv",
    "FullyConnected": "Linear", "FC": "Linear", "MultiHeadAttention": "MultiheadAttention",
    "Swish": "SiLU", "SpatialDropout": "Dropout",
    # functions
    "cat": "concat", "concatenate": "concat", "view": "reshape", "mm": "matmul", "bmm": "matmul",
    "dot": "matmul", "multiply": "mul", "subtract": "sub", "divide": "div", "power": "pow",
    "expand_dims": "unsqueeze", "swapaxes": "transpose", "swish": "silu",
    "reduce_mean": "mean", "reduce_sum": "sum", "reduce_max": "max", "top_k": "topk",
    "clip": "clamp", "avg": "mean", "average": "mean", "upsample": "interpolate",
    "resize": "interpolate", "broadcast_to": "expand", "true_divide": "div",
    # Python's constants
    "True": "true", "False": "false", "None": "none",
}  # fmt: skip
"""A name elsewhere -> the name of the same thing here."""

SENTENCES: Final = {
    "range": "loops count as in `for i in 0..n { … }`",
    "Sequential": "layers in a row are a pipeline: `x -> Linear(8) -> ReLU`",
    "ModuleList": "layers are repeated by `repeat n { … }` or by `for i in a..b { … }`",
    "ModuleDict": "layers have labels: `x -> name: Linear(8)`",
    "Parameter": "a weight is declared: `param name: [8]`",
    "Module": "a part with a name is a `block Name(parameters)(inputs) { … }`",
    "Model": "the whole network is a `model name(inputs) { … }`",
    "Input": "inputs are declared in the signature: `model net(x: [N, 8])`",
    "Lambda": "a part with a name is a `block Name(parameters)(inputs) { … }`",
    "Activation": "an activation is a stage of its own: `x -> relu`",
    "Reshape": "write `x -> reshape(N, 8)`",
    "Permute": "write `x -> permute(0, 2, 1)`",
    "Concatenate": "write `concat(a, b, axis=1)`",
    "Add": "write `a + b`",
    "Multiply": "write `a * b`",
    "Lstm": "the layer is `LSTM`",
    "print": "nothing is printed; `archdsl summary` shows every shape",
    "super": "a part with a name is a `block Name(parameters)(inputs) { … }`",
    "self": "there is no `self`: a layer stands where it is used, `x -> name: Linear(8)`",
    "enumerate": "loops count as in `for i in 0..n { … }`",
    "zip": "loops count as in `for i in 0..n { … }`",
    "cross_entropy": "training and its losses are PyTorch's; a spec describes the network",
    "CrossEntropyLoss": "training and its losses are PyTorch's; a spec describes the network",
    "MSELoss": "training and its losses are PyTorch's; a spec describes the network",
    "contiguous": "memory layout is the compiler's; leave it out",
    "detach": "gradients are PyTorch's; leave it out",
    "masked_fill": "write `where(mask, value, x)`",
    "moveaxis": "write `x -> permute(0, 2, 1)`",
}
"""A name elsewhere that has no one name here -> what is written instead."""

MODULES: Final = frozenset(
    {"nn", "torch", "F", "np", "tf", "keras", "layers", "jnp", "numpy", "functional"}
)
"""Prefixes under which other libraries keep their operators."""

METHODS: Final = {
    "shape": "sizes have names: `[N, C, H, W]` in the signature makes `N` to `W` usable",
    "size": "sizes have names: `[N, C, H, W]` in the signature makes `N` to `W` usable",
    "ndim": "the number of axes is fixed by the signature",
    "T": "write `x -> transpose(0, 1)`",
    "weight": "label the layer before its weight is used: `embedding: Embedding(…)`",
    "bias": "label the layer before its bias is used: `fc: Linear(…)`",
    "to": "devices and types are chosen by who runs the network; to change a type write `cast`",
    "cuda": "devices are chosen by who runs the network",
    "cpu": "devices are chosen by who runs the network",
    "clone": "values are never changed; leave it out",
    "item": "values are tensors throughout; leave it out",
    "float": 'write `x -> cast("float32")`',
    "long": 'write `x -> cast("int64")`',
    "half": 'write `x -> cast("float16")`',
}
"""What follows a dot elsewhere and is no operator here -> what is written instead."""

ARGUMENTS: Final = {
    "dim": "axis", "dims": "axes", "axes": "axis", "keepdims": "keepdim", "filters": "out_channels",
    "units": "out_features", "strides": "stride", "rate": "p", "dilation_rate": "dilation",
    "use_bias": "bias", "epsilon": "eps", "kernel": "kernel_size", "pool_size": "kernel_size",
    "ksize": "kernel_size", "pad": "padding", "num_groups": "groups", "n_heads": "num_heads",
    "heads": "num_heads", "drop_prob": "p", "dropout_p": "dropout", "ceil": "ceil_mode",
    "input_dim": "num_embeddings", "output_dim": "embedding_dim",
    "size": "output_size", "equation": "pattern", "min_value": "min",
    "max_value": "max", "channels": "out_channels", "hidden": "hidden_size",
    "slope": "negative_slope", "shift": "shifts", "indices": "index",
}  # fmt: skip
"""An argument elsewhere -> its name here, where the operator has an argument of that name."""

INFERRED: Final = frozenset(
    {"in_channels", "in_features", "num_features", "input_size", "input_shape", "num_channels"}
    | {"normalized_shape", "in_dim", "input_dim", "embed_dim", "d_model"}
)
"""Arguments elsewhere that say what is known here: how wide the input is."""

ARGUMENT_SENTENCES: Final = {
    "activation": "an activation is a stage of its own: `-> relu`",
    "inplace": "the compiler decides what may be overwritten; leave it out",
    "device": "devices are chosen by who runs the network; leave it out",
    "dtype": "the type is that of the input; another is made by `cast`",
    "training": "what differs in training follows `model.train()`; leave it out",
    "name": "a label stands before the layer: `x -> name: Layer(…)`",
    "data_format": "axes are in PyTorch's order, `[N, C, H, W]`; leave it out",
    "kernel_initializer": "write `weight_init=normal(std=0.02)`",
    "return_sequences": "all steps are returned; the last is `select(axis=…, index=-1)`",
}

WIDTH_PLACES: Final = {"BatchNorm": 0, "GroupNorm": 1, "InstanceNorm": 0, "Linear": 0}
"""At which place PyTorch is given the width of the input, which is inferred here."""

_RANKED = re.compile(r"(?P<stem>\w+?)(?P<rank>[123][dD])\Z")


def explained(
    span: Span, here: Here | None, otherwise: tuple[tuple[str, ...], Fix | None]
) -> tuple[tuple[str, ...], Fix | None]:
    """The help and the fix for what is called otherwise elsewhere; else those that are given."""
    if here is None:
        return otherwise
    return (here.help,), None if here.replacement is None else Fix(span, here.replacement)


def named(name: str, known: Container[str]) -> Here | None:
    """What a name from elsewhere is called here; `known` are the names that are usable."""
    if name in SENTENCES:
        return Here(SENTENCES[name])
    here = NAMES.get(name)
    ranked = _RANKED.match(name)
    if here is None and ranked is not None:
        stem = ranked["stem"].rstrip("_")
        here = NAMES.get(stem, stem)
        if here in known:
            return Here(f"the rank is that of the input: it is called `{here}` here", here)
    if here is None or here not in known:
        return None
    return Here(f"it is called `{here}` here", here)


def dotted(path: str, known: Container[str]) -> Here | None:
    """What `nn.Conv2d`, `x.view` or `self.fc` is here."""
    first, _, last = path.rpartition(".")
    if first == "self":
        return Here(f"there is no `self`: a layer stands where it is used, `x -> {last}: …`")
    here = named(last, known)
    operator = last if last in known else here.replacement if here is not None else None
    if first.split(".")[0] in MODULES:
        if operator is None:
            return here or Here(f"there is no `{first}` here: operators are known by their names")
        inferred = "; ranks and input widths are inferred" if _RANKED.match(last) else ""
        return Here(f"there is no `{first}` here: write `{operator}`{inferred}", operator)
    if operator is not None:
        return Here(f"no dot leads to an operator: write `{first} -> {operator}`")
    return Here(METHODS[last]) if last in METHODS else here


def argument(key: str, known: Container[str]) -> Here | None:
    """What an argument from elsewhere is called here."""
    here = ARGUMENTS.get(key)
    if here is not None and here in known:
        return Here(f"it is called `{here}` here", here)
    if key in INFERRED:
        return Here(f"the width of the input is inferred: leave `{key}` out")
    if key in ARGUMENT_SENTENCES:
        return Here(ARGUMENT_SENTENCES[key])
    return None
