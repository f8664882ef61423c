"""Breaking things from outside: proxies before every service, and processes that can be killed."""
