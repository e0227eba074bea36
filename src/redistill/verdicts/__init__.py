"""Claims laid beside runs, files and beliefs: what is judged, and the verdict."""
