"""The quality checker: people upload estimates, the service scores them and ranks them. Needs the extra `service`."""

import logging

logging.getLogger("alembic").setLevel(
    logging.WARNING
)  # else it tells of each of its plugins when it is imported
