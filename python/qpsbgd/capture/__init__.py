"""What a step needs beside the gradient: the latent weight's mark, and the layer inputs behind a gradient."""

from qpsbgd.capture.autograd import (
    BinaryWeight,
    Capture,
    Record,
    RowForm,
    _rebuild,  # noqa: F401  # pickles name it
    as_binary_weight,
    attach,
    binarize,
    record_slopes,
    recorded_product,
    relax,
)

__all__ = [
    "BinaryWeight",
    "Capture",
    "Record",
    "RowForm",
    "as_binary_weight",
    "attach",
    "binarize",
    "record_slopes",
    "recorded_product",
    "relax",
]
