"""The mathematics of a step: arrays in, arrays out, no optimizer."""
