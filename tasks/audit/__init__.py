"""What has to be known before a robust accuracy is believed: `robustray.audit`."""
