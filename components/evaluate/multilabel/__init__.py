"""How sets of classes are scored: a sample is a patch, and of each class it takes a decision of its own."""
