"""Any program as a job: `callback-sdk exec` runs it and delivers how it ended.

Nothing here that runs before the program has started imports more than the standard library and the base of the
package: a job of an array starts thousands of times.
"""
