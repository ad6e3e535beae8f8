"""The local stack and the story it tells."""
