"""Security: consent to run foreign code, guards around such code, downloads from the Hub, and redaction of secrets."""
