"""Networks, optimizers and the search of the benchmark `ordinary_networks.py`."""
