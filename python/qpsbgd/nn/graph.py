"""The binary graph convolution. It takes the edge lists of PyTorch Geometric but does not import it."""

from __future__ import annotations

import weakref
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpsbgd.capture.autograd import binarize, recorded_product
from qpsbgd.capture.weight import BinaryWeight
from qpsbgd.nn.base import BinaryLayer, output_scale, positive_int

__all__ = ["BinaryGCNConv"]


class BinaryGCNConv(BinaryLayer):
    """``Z = a Â X sign(W)' + bias`` with ``a = 1 / sqrt(in_channels)``, a layer of Kipf and Welling's GCN.

    ``Â = D^-1/2 (A + I) D^-1/2`` is the normalised adjacency, D the diagonal of the row sums of A + I, and
    A_ij the weight of the edge from j to i. The layer is a binary linear layer whose inputs are the rows of
    ÂX, one row a node. Options, arguments of `forward` and results are those of
    ``torch_geometric.nn.GCNConv`` with the weight ``a sign(W)``. The layer has no bias by default, since
    batch norm usually follows.

    Parameters
    ----------
    in_channels, out_channels : int
        Features of a node, d and m.
    improved : bool
        Â with A + 2I, with or without edge weights (PyTorch Geometric 2.8 overlooks it without).
    cached : bool
        Keep Â of the first call for all later ones, for training on one graph. While a layer's features are
        the same unchanged tensor and need no gradient, ÂX and its Gram matrix are kept too.
    add_self_loops : bool, optional
        Add I where a node has no edge to itself. By default as `normalize`.
    normalize : bool
        Use Â; otherwise A itself, with the edge weights as they come.
    bias : bool
        Learn an additive bias of shape (m,).
    device, dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If a size is not a positive integer, or self loops are asked for without normalisation.

    Notes
    -----
    Source: Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017.

    Examples
    --------
    >>> import torch
    >>> layer = BinaryGCNConv(4, 3)
    >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> layer(torch.ones(3, 4), path).shape
    torch.Size([3, 3])
    """

    in_channels: int
    out_channels: int
    _graph: Tensor | None
    # Features, their version, and ÂX of them.
    _known: tuple[weakref.ref[Tensor], int, Tensor] | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = positive_int("in_channels", in_channels)
        self.out_channels = positive_int("out_channels", out_channels)
        self.add_self_loops = bool(normalize if add_self_loops is None else add_self_loops)
        if self.add_self_loops and not normalize:
            raise ValueError("add_self_loops is part of the normalisation, but normalize is False")
        self.improved = bool(improved)
        self.cached = bool(cached)
        self.normalize = bool(normalize)
        self._forget()
        values = torch.empty(self.out_channels, self.in_channels, device=device, dtype=dtype)
        self.weight = BinaryWeight(values)
        if bias:
            self.bias = nn.Parameter(torch.empty(self.out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the latent weights from U(-.1, .1), set the bias to zero, and forget a cached graph."""
        super().reset_parameters()
        self._forget()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Compute Z of all nodes.

        Parameters
        ----------
        x : Tensor (nodes, in_channels)
            Features.
        edge_index : integer Tensor (2, edges)
            Sources in row 0 and targets in row 1; an undirected edge stands there in both directions.
        edge_weight : Tensor (edges,), optional
            Weights of the edges, 1 if not given.

        Returns
        -------
        Tensor (nodes, out_channels)
            Z.

        Raises
        ------
        TypeError, ValueError
            If an argument is of another kind or shape, or names a node that is not there.
        """
        if x.dim() != 2 or x.shape[1] != self.in_channels:
            raise ValueError(f"x has shape {tuple(x.shape)}, expected (nodes, {self.in_channels})")
        inputs = self._propagate(x, edge_index, edge_weight)
        scale = output_scale(self.in_channels)

        def product(binary: Tensor) -> Tensor:
            return F.linear(inputs, binary) * scale

        if self.training:
            output = recorded_product(self.weight, inputs, product, scale=scale)
        else:
            output = product(binarize(self.weight))
        return output if self.bias is None else output + self.bias

    def _propagate(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
        """Compute ÂX (nodes, d), or give that of the last call if nothing has changed."""
        if not self.cached:
            return _product(self._adjacency(x, edge_index, edge_weight), x)
        graph = self._adjacency(x, edge_index, edge_weight) if self._graph is None else self._graph
        if graph.requires_grad:
            return _product(graph, x)
        self._graph = graph
        if len(graph) != len(x):
            raise ValueError(f"x has {len(x)} nodes, but the cached graph has {len(graph)}")
        known = self._known
        if known is not None and known[0]() is x and known[1] == x._version:
            return known[2]
        inputs = _product(graph, x)
        # A tensor made in inference mode has no version, and cannot take part in training later.
        if not (inputs.requires_grad or torch.is_inference_mode_enabled() or x.is_inference()):
            self._known = (weakref.ref(x), x._version, inputs)
        return inputs

    def _adjacency(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None) -> Tensor:
        """Build Â, or A without normalisation, as a sparse matrix (target, source)."""
        _check_edges(len(x), edge_index, edge_weight)
        edges = edge_index.long()
        weights = x.new_ones(edges.shape[1]) if edge_weight is None else edge_weight.to(x.dtype)
        if self.normalize:
            edges, weights = _normalised(
                edges, weights, len(x), self.add_self_loops, 2.0 if self.improved else 1.0
            )
        return torch.sparse_coo_tensor(
            edges.flip(0), weights, (len(x), len(x)), check_invariants=False
        ).coalesce()

    def _forget(self) -> None:
        self._graph = None
        self._known = None

    def _apply(self, fn: Any, recurse: bool = True) -> BinaryGCNConv:
        super()._apply(fn, recurse)
        self._forget()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_graph": None, "_known": None}

    def extra_repr(self) -> str:
        """Name the sizes."""
        return f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"


def _product(adjacency: Tensor, x: Tensor) -> Tensor:
    return cast(Tensor, torch.sparse.mm(adjacency, x))


def _check_edges(nodes: int, edge_index: Any, edge_weight: Any) -> None:
    if (
        not isinstance(edge_index, Tensor)
        or edge_index.layout != torch.strided
        or edge_index.dtype not in (torch.int64, torch.int32)
    ):
        came = type(edge_index).__name__
        if isinstance(edge_index, Tensor):
            came = f"a tensor of {edge_index.dtype} and {edge_index.layout}"
        raise TypeError(f"edge_index must be a dense integer tensor (2, edges), but is {came}")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index has shape {tuple(edge_index.shape)}, expected (2, edges)")
    if edge_index.numel() and not (int(edge_index.min()) >= 0 and int(edge_index.max()) < nodes):
        raise ValueError(
            f"edge_index names nodes {int(edge_index.min())} to {int(edge_index.max())}, "
            f"but x has nodes 0 to {nodes - 1}"
        )
    if edge_weight is None:
        return
    if not isinstance(edge_weight, Tensor) or not edge_weight.is_floating_point():
        raise TypeError("edge_weight must be a tensor of floating-point numbers")
    if tuple(edge_weight.shape) != (edge_index.shape[1],):
        raise ValueError(
            f"edge_weight has shape {tuple(edge_weight.shape)}, expected {(edge_index.shape[1],)}"
        )


def _normalised(
    edges: Tensor, weights: Tensor, nodes: int, add_self_loops: bool, fill: float
) -> tuple[Tensor, Tensor]:
    """Give edges and weights of D^-1/2 (A + fill I) D^-1/2; a node with a loop keeps the loop's weight."""
    if add_self_loops:
        loop = edges[0] == edges[1]
        loops = weights.new_full((nodes,), fill)
        # Of a node's several loops the last one counts, as in PyTorch Geometric.
        loops = loops.index_put((edges[0, loop],), weights[loop])
        every = torch.arange(nodes, device=edges.device)
        edges = torch.cat([edges[:, ~loop], torch.stack([every, every])], dim=1)
        weights = torch.cat([weights[~loop], loops])
    degree = weights.new_zeros(nodes).index_add(0, edges[1], weights)
    if bool((degree < 0).any()):
        raise ValueError("edge_weight: the weights of the edges into a node have a negative sum")
    scale = degree.clamp(min=torch.finfo(degree.dtype).tiny).rsqrt() * (degree > 0)
    return edges, scale[edges[0]] * weights * scale[edges[1]]
