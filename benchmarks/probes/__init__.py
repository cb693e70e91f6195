"""Small programs that the groups run in processes of their own."""
