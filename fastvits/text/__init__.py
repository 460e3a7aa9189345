"""Text to ids and back: one front end a family of voices, and the tokenizer on top."""
