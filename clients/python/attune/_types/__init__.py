"""The service's JSON as frozen records, one file for each noun; `reading` makes them.

Every record ignores unknown fields and has defaults for missing ones, so old SDKs work with new services and the other
way round. Times are UTC in ISO 8601, as the service sends them.
"""
