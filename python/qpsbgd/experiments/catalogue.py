"""The experiments as data: networks, data sets, optimizers with their settings.

A task's `optimizers` hold the settings of a run without tuning. With ``qpsbgd train NAME --tune`` the
accuracy on held-out training samples chooses other ones, from equally many trials of every optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping

from qpsbgd.experiments import convergence, convex, finishing, noise, rosenbrock
from qpsbgd.experiments.classification import Classification
from qpsbgd.experiments.core.search import Between, Search
from qpsbgd.experiments.core.task import Experiment, Settings, Task
from qpsbgd.experiments.graphs import NodeClassification
from qpsbgd.experiments.networks import Cnn, Gcn, Mlp

__all__ = ["EXPERIMENTS", "SEARCHES", "TASKS"]


_BETA, _SQUARE_BETA = Between(0.05, 0.7, of_past=True), Between(0.001, 0.5, of_past=True)
_SIGN_RATES, _ADAM_RATES = Between(0.0005, 0.05), Between(0.0003, 0.1)
_KAPPA = Between(0.1, 10.0)

SEARCHES: Mapping[str, Search] = {
    "qpsbgd": Search(
        (
            {"lr": _SIGN_RATES, "kappa": _KAPPA},
            {
                "lr": _SIGN_RATES,
                "kappa": _KAPPA,
                "memory": "momentum",
                "beta": _BETA,
                "gram_beta": Between(0.03, 0.7, of_past=True),
            },
        )
    ),
    "binaryconnect-adam": Search(({"lr": _ADAM_RATES, "beta": _BETA, "square_beta": _SQUARE_BETA},)),
    "binaryconnect-sgd": Search(({"lr": Between(0.3, 300.0), "momentum": _BETA},)),
    "signsgd": Search(
        ({"lr": _SIGN_RATES, "error_feedback": True}, {"lr": _SIGN_RATES, "momentum": _BETA}),
    ),
    "proxquant": Search(
        (
            {
                "lr": _ADAM_RATES,
                "strength": Between(0.5, 20.0),
                "beta": _BETA,
                "square_beta": _SQUARE_BETA,
            },
        )
    ),
    "bop": Search(({"lr": Between(0.001, 0.5, most=1.0), "threshold": Between(1e-6, 1e-2)},)),
}
"""What the settings of binary networks are drawn from: optimizer -> search, with equally many trials."""

_UNTUNED: Mapping[str, Settings] = {
    "qpsbgd": {"lr": 0.01},
    "binaryconnect-adam": {"lr": 0.01},
    "binaryconnect-sgd": {"lr": 30.0},
    "signsgd": {"lr": 0.003},
    "proxquant": {"lr": 0.01, "strength": 2.0},
    "bop": {"lr": 0.1, "threshold": 1e-4},
}


def _chosen(**settings: Settings) -> dict[str, Settings]:
    """Make settings of all optimizers; an underscore in a name stands for a hyphen."""
    return {**_UNTUNED, **{name.replace("_", "-"): one for name, one in settings.items()}}


_DIGITS = Classification(
    name="digits",
    description="scikit-learn's 8x8 digits",
    dataset="digits",
    network=Mlp((64, 256, 10), "relu"),
    batch_size=64,
    steps=600,
    optimizers=_chosen(binaryconnect_adam={"lr": 0.1}),
    grids=SEARCHES,
    tuning_seeds=3,
)
_MNIST = Classification(
    name="mnist",
    description="MNIST, two epochs",
    dataset="mnist",
    network=Mlp((784, 256, 10), "sign"),
    batch_size=100,
    steps=1200,
    optimizers=_chosen(
        binaryconnect_adam={"lr": 0.03}, binaryconnect_sgd={"lr": 100.0}, signsgd={"lr": 0.01}
    ),
    grids=SEARCHES,
)
_MNIST_WIDE = Classification(
    name="mnist-wide",
    description="MNIST, two epochs, wider and with real activations",
    dataset="mnist",
    network=Mlp((784, 512, 512, 10), "relu"),
    batch_size=100,
    steps=1200,
    optimizers=_chosen(binaryconnect_sgd={"lr": 100.0}),
    grids=SEARCHES,
)
_MNIST_CNN = Classification(
    name="mnist-cnn",
    description="MNIST with two binary convolutions, two epochs",
    dataset="mnist",
    network=Cnn(28, (16, 32), 10, kernel=3),
    batch_size=100,
    steps=1200,
    optimizers=_chosen(),
    grids=SEARCHES,
    seeds=3,
)
_PUBLISHED_PAIRS = {"02": 0.66, "12": 0.73, "17": 0.75}


def _pair(digits: str, size: int) -> Classification:
    reduced = "" if size == 28 else f"-{size}x{size}"
    return Classification(
        name=f"mnist-pairs-{digits}{reduced}",
        description=f"MNIST {digits[0]} or {digits[1]}, {size}x{size} pixels",
        dataset=f"mnist-pairs-{digits}{reduced}",
        network=Mlp((784, 64, 2), "sign") if size == 28 else Mlp((size * size, 32, 2), "relu"),
        batch_size=100,
        steps=300 if size == 28 else 500,
        inputs="centred" if size == 28 else "binarised",
        optimizers=_chosen(binaryconnect_adam={"lr": 0.03}),
        grids=SEARCHES,
        published={"QP-SBGD": _PUBLISHED_PAIRS[digits]},
    )


_ADULT = Classification(
    name="adult",
    description="Adult a1a: who earns over 50000",
    dataset="adult",
    network=Mlp((123, 32, 2), "hardtanh"),
    batch_size=100,
    steps=500,
    optimizers=_chosen(qpsbgd={"lr": 0.001}, binaryconnect_adam={"lr": 0.0003}, signsgd={"lr": 0.001}),
    grids=SEARCHES,
    tuning_seeds=6,  # a validation split has 267 samples
)
_ADULT_DEEP = Classification(
    name="adult-deep",
    description="Adult a1a, ten layers with residual connections",
    dataset="adult",
    network=Mlp((123, *[128] * 9, 2), "sign", residual=True),
    batch_size=16,  # 300 steps of 100 are 19 epochs, after which ten layers know their samples by heart
    steps=300,
    optimizers=_chosen(qpsbgd={"lr": 0.03}, binaryconnect_adam={"lr": 0.03}),
    grids=SEARCHES,
    tuning_seeds=3,
)

_KARATE = NodeClassification(
    name="karate",
    description="the karate club's two halves, from its two leaders",
    graph="karate",
    network=Gcn((34, 64, 2)),
    optimizers=_chosen(qpsbgd={"lr": 0.003}),
    published={"QP-SBGD": 0.57},
)  # not tuned: it has no validation nodes
_CORA = NodeClassification(
    name="cora",
    description="2708 papers in 7 fields, 20 labelled of each",
    graph="cora",
    network=Gcn((1433, 256, 7), dropout=0.6),
    steps=100,
    optimizers=_chosen(qpsbgd={"lr": 0.003}),
    grids=SEARCHES,
    published={"QP-SBGD": 0.57},
)
_PUBMED = NodeClassification(
    name="pubmed",
    description="19717 papers in 3 fields, 20 labelled of each",
    graph="pubmed",
    network=Gcn((500, 256, 3), dropout=0.6),
    steps=100,
    optimizers=_chosen(qpsbgd={"lr": 0.001}),
    grids=SEARCHES,
    published={"QP-SBGD": 0.66},
)

_DEPTHS = (2, 4, 8, 16, 32)
_WIDTHS = (32, 128, 512, 2048)
_BATCH_SIZES = (25, 100, 400, 1600)

_DEPTH_TASKS = tuple(
    Classification(
        name=f"depth-{layers}",
        description=f"digits, {layers} layers of 64 with residual connections",
        dataset="digits",
        network=Mlp((*[64] * layers, 10), "hardtanh", residual=True),
        batch_size=100,
        steps=400,
        optimizers=_chosen(qpsbgd={"lr": 0.003}),
        grids=SEARCHES,
    )
    for layers in _DEPTHS
)
_WIDTH_TASKS = tuple(
    Classification(
        name=f"width-{width}",
        description=f"MNIST with {width} hidden neurons, half an epoch",
        dataset="mnist",
        network=Mlp((784, width, 10), "sign"),
        batch_size=100,
        steps=300,
        optimizers=_MNIST.optimizers,  # those of mnist, which has 256 hidden neurons
        grids=SEARCHES,
        seeds=3,
    )
    for width in _WIDTHS
)
_BATCH_TASKS = tuple(
    Classification(
        name=f"batch-{size}",
        description=f"MNIST in batches of {size}, one epoch",
        dataset="mnist",
        network=Mlp((784, 64, 10), "sign"),
        batch_size=size,
        steps=60_000 // size,
        optimizers=_MNIST.optimizers,  # those of mnist, whose batches have 100 samples
        grids=SEARCHES,
        seeds=3,
    )
    for size in _BATCH_SIZES
)

_ALL = (
    Experiment("digits", "A small network on a small data set, as in the demo", (_DIGITS,)),
    Experiment(
        "mnist-pairs",
        "Two digits of MNIST at three resolutions",
        tuple(_pair(digits, size) for size in (4, 8, 28) for digits in _PUBLISHED_PAIRS),
    ),
    Experiment("mnist", "All digits of MNIST with sign activations", (_MNIST,)),
    Experiment("mnist-wide", "All digits of MNIST with three wide layers", (_MNIST_WIDE,)),
    Experiment("mnist-cnn", "All digits of MNIST with binary convolutions", (_MNIST_CNN,)),
    Experiment("karate", "A social network of 34 members", (_KARATE,)),
    Experiment("cora", "A citation network", (_CORA,)),
    Experiment("pubmed", "A larger citation network", (_PUBMED,)),
    Experiment("adult", "A table of binary features", (_ADULT,)),
    Experiment("adult-deep", "The same with ten layers", (_ADULT_DEEP,)),
    Experiment("depth", "How deep may a network be?", _DEPTH_TASKS, "layers", _DEPTHS),
    Experiment("width", "Time and accuracy against the size of the layer", _WIDTH_TASKS, "neurons", _WIDTHS),
    Experiment(
        "batch",
        "Batch size by learning rate: the trials are in the tuning tables",
        _BATCH_TASKS,
        "batch size",
        _BATCH_SIZES,
    ),
    rosenbrock.EXPERIMENT,
    convex.EXPERIMENT,
    convergence.EXPERIMENT,
    finishing.EXPERIMENT,
    noise.EXPERIMENT,
    noise.CHANNELS_EXPERIMENT,
)

EXPERIMENTS: Mapping[str, Experiment] = {experiment.name: experiment for experiment in _ALL}
"""Experiment name -> experiment."""

TASKS: Mapping[str, Task] = {task.name: task for experiment in _ALL for task in experiment.tasks}
"""Task name -> task."""
