"""Parts that several terms share; no term by themselves."""
