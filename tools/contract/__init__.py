"""The published contract, made from the models: schemas, the description of all channels, golden samples."""
