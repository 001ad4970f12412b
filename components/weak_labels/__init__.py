"""Weak labels: from an image, L-Net's objectness, activation maps and tags to a mask of category ids (paper, Eq. 2)."""
