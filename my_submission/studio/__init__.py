"""The studio: a page on this machine onto which songs are dropped, and on which their stems are heard and saved.

Needs the extra `service`; nothing imports it but its command.
"""
