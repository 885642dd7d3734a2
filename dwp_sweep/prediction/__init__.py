"""Trained networks at work on scans of any orientation and spacing: masks on the scans' own grids."""
