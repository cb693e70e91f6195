"""The file formats that vectors are read from: one table, and a reader each."""
