"""One classifier a file, with the solvers that fit them."""
