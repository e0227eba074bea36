"""``redistill bench``: this package's loop against a plain PyTorch loop that does the same work, equality first."""
