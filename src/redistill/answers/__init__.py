"""What networks said, remembered between runs: where it lies, whose it is, tables of outputs, single numbers."""
