"""From cells to done work: what has to be made, in which order, and where it runs."""
