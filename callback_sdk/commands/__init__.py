"""The commands of `callback-sdk`; their help is their manual."""
