"""Where problems lie on a chip: its graph, cliques packed on it, layouts of chains."""
