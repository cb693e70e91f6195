"""One module per group of rows; each has ``run(options)``, which yields rows as they are ready."""
