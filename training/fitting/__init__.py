"""How fits are run: the problem and its result, finished grid points, workers."""
