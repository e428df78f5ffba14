"""Public datasets: their addresses, and how they are downloaded and unpacked."""
