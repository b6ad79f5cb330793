"""Systems: one file each, wiring blocks of the other rooms to a model, its training task and its animator."""
