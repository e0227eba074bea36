"""Recipes as printed: settings that publications and their codes used, by name."""
