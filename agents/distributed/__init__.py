"""Several processes training one policy, and the devices they compute on."""
