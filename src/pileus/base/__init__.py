"""The floor everything stands on: ids, time, records, errors, configuration, logging, processes. Imports nothing above."""
