"""What binds the book: executed twins, the Sphinx extension, the ledger.

Readers never import it.
"""
