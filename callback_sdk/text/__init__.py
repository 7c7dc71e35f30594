"""Text from strangers: control characters, credentials in the paths of URLs, and how long it may be."""
