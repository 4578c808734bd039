"""The published contract, generated from the models: schemas, the description of all channels, golden samples."""
