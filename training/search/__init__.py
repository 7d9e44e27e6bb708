"""From keywords to pictures, a model and predictions: paper 5's toolchain on open licences."""
