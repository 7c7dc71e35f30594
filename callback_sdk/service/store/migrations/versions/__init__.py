"""The migrations, one module each; the newest leads to the tables in `store.tables`."""
