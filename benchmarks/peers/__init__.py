"""The programs of the peers. Each runs in an environment of its own, which has no crmgate.

All read `REDIS_URL` and `SINK_URL`, take the same body, and make the same request to the CRM with the same retries.
"""
