"""Runs that answer a question: the ablation, label noise."""
