"""Where real weights and real text come from: one module a checkpoint."""
