"""Where work runs that is spread over shards of a pool."""
