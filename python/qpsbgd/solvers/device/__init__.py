"""The solver on an accelerator: batches of dense problems in torch operations and Triton kernels.

The way of a batch: `batch` checks tensors, `fixed` rounds couplings to integers, `search` moves spins by
`moves` or `kernel`, `finish` ends in float64 and by the caller's numbers, `solve` puts these together.
"""
