"""What a run tells: rows, log lines, layer figures, trackers and the report."""
