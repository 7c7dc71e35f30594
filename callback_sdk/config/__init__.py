"""Settings from the environment: the only package that reads it.

Each variable begins with `CALLBACK_SDK_`. Where the AI platform's scripts and notebooks have another name for
the same setting, that name is read too, unless ours is set. An empty variable counts as not set.

`settings` declares each setting once, in the module of its subject. The configuration classes, the command line options
with their help, and the table in the documentation come from these declarations.
"""
