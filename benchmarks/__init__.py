"""Measurements that need a quiet machine; not packaged."""
