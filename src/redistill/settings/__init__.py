"""TOML for people: text with line numbers, all mistakes at once, one grammar of changes."""
