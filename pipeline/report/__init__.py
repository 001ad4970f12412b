"""The page people look at after a run: one self-contained HTML file."""
