"""Features, the input table of an algorithm: from any container to Arrow, Parquet and JSON, and back."""
