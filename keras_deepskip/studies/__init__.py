"""The wing: the paper's rivals, its ablation and comparison, and timings side by side."""
