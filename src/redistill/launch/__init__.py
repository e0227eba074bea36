"""Experiments carried out: order, cohorts, processes, interruption."""
