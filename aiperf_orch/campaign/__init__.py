"""The campaign directory: the only room that knows its file names, and how each is written, trusted and read."""
