"""What to do with a bridge at query time and with the corpus, each judged on held-out rows."""
