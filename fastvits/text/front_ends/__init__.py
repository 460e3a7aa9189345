"""One front end a family of voices: a text in, pieces out, each a token and its span in the original text."""
