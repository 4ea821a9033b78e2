"""Security: consent to run foreign code, guards around such code, and redaction of secrets."""
