"""Public datasets: where they are, and how they are downloaded and unpacked."""
