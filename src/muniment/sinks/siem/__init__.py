"""
The log as a SIEM wants it: records as OCSF events, in a file, to a webhook, or by syslog.

`shapes` has what OCSF calls things, one module for each part of the log says what its kinds are,
and `ocsf` puts an event together. The log's own bytes stay what they are: an event is one way of
looking at a record, and names it, so that its proof can be had.
"""
