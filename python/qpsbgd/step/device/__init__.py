"""The mathematics of a step on the device of its weight: tensors in, tensors out."""
