"""From any value to the bytes of a document: JSON, forms, and files of results."""
