"""The package behind the book *Handmade Transformers*."""
