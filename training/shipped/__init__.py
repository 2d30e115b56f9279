"""The pictures of the shipped model and clip: which they are, and programs that fetch and use them."""
