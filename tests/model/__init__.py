"""A small, independent model of the rules of a detach, explored exhaustively and compared with the product.

`states`, `rules`, `steps` and `explore` import only the standard library and share no code with the product, so an
error in the product is unlikely to be repeated here. `conformance` compares the product's decisions with the model's,
and `traces` the product's steps in a simulation.
"""
