"""A whole Airflow on one machine, with the simulator as its CRM: for `make demo`, `make up` and the server tests."""
