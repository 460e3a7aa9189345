"""What is done to texts, tried with many of them."""
