"""The work itself: one module per stage, each task a frozen dataclass of plain values that can be called."""
