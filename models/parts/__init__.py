"""What networks are made of. Nothing here is a method by itself."""
