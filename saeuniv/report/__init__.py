"""What people look at: heatmaps, the table at the end of a run, and what it means."""
