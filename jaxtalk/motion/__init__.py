"""Motion spaces, rotations, animators and exchange formats."""
