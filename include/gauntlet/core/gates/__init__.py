"""One module per gate, and the literal registry of them."""
