"""A second opinion: the rules of a detach once more, as a small model that is explored exhaustively.

It shares no code with the product (`states`, `rules`, `steps` and `explore` import the standard library alone), so an
error would have to be made twice. `conformance` holds the product's decisions against the model's.
"""
