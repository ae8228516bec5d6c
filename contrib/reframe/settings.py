"""Minimal ReFrame configuration: everything runs on the login node, from which the controller submits its trials.

A site that has a configuration of its own uses that one: the test is local on every system and partition.
"""

site_configuration = {
    "systems": [
        {
            "name": "login",
            "descr": "login node, from which aiperf-orch submits",
            "hostnames": [".*"],
            "partitions": [
                {"name": "default", "scheduler": "local", "launcher": "local", "environs": ["default"]},
            ],
        }
    ],
    "environments": [{"name": "default"}],
}
